"""A server to be measured: how it is started, where it answers, and the processes it then has."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

_Number = TypeVar("_Number", int, float)
STOP_S = 8
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONSAFEPATH": "",
    "PYTHONPATH": "",
}
"""One thread each, no telemetry, and nothing of this environment in the path of another's interpreter."""


@dataclass(frozen=True)
class Place:
    """What a server is given: a folder of its own, its interpreter, free ports, and the model's file."""

    folder: Path
    python: Path
    port: int
    grpc_port: int
    metrics_port: int
    model: Path

    def command(self, name: str, *arguments: str) -> tuple[str, ...]:
        """A command that a package put beside the interpreter."""
        return (str(self.python), str(self.python.parent / name), *arguments)


@dataclass(frozen=True)
class Route:
    """Where a case is asked, and in which form (see forms.py). A gRPC route has no path."""

    form: str
    path: str = ""


@dataclass(frozen=True)
class Server:
    """`routes` by case; the first tells that the server is ready.

    One that does not compute has no right answers. One whose processes watch each other's time cannot be held.
    """

    command: tuple[str, ...]
    routes: Mapping[str, Route]
    environment: Mapping[str, str] = field(default_factory=dict)
    computes: bool = True
    can_be_held: bool = True


class Running:
    """A started server, on `core` where there is one to give; what it writes goes to the file `log`."""

    def __init__(self, server: Server, folder: Path, core: int | None, log: Path) -> None:
        self._can_be_held = server.can_be_held
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                pinned(server.command, core),
                cwd=folder,
                env=dict(os.environ) | QUIET | server.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether its first process is gone."""
        return self._process.poll() is not None

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return self._sum(lambda process: sum(process.cpu_times()[:2]))

    def rss_mb(self) -> float:
        """Resident memory of all its processes."""
        return self._sum(lambda process: process.memory_info().rss) / 1e6

    def pause(self) -> None:
        """Hold all its processes, so that what it does unasked takes nothing from the server that has its turn."""
        if self._can_be_held:
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all its processes, by force where asking does not help."""
        processes = self._processes()
        self.resume()
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    end(process)
            _, processes = psutil.wait_procs(processes, timeout=STOP_S)

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _sum(self, of: Callable[[psutil.Process], _Number]) -> _Number:
        total: _Number = 0  # type: ignore[assignment]
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                total += of(process)
        return total

    def _signal(self, number: int) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def program(name: str) -> Path:
    """A file that runs in a peer's environment."""
    return Path(__file__).parent / "programs" / f"{name}.py"


def ours() -> dict[str, str]:
    """The path of this interpreter, for a server that runs in this environment."""
    return {name: os.environ.get(name, "") for name in ("PYTHONPATH", "PYTHONSAFEPATH")}


def pinned(command: tuple[str, ...], core: int | None) -> list[str]:
    """The command, on one core."""
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
