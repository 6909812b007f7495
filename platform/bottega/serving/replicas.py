"""Several replicas of the server on one port, and the process that keeps them.

Each replica is a whole server process: the kernel gives it its share of the connections (SO_REUSEPORT), it follows the
deployments itself, and writes segments of the prediction log of its own. The keeper answers no request. It starts a
replica that has died again, passes SIGTERM on, and its process is the one that the workspace's `server.json` names.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bottega.errors import Unavailable, Unsupported
from bottega.files import write_json
from bottega.serving.address import TOKEN_VARIABLE, Address, bind, withdraw
from bottega.serving.replica import READY
from bottega.workspace import Workspace

DRAIN_S = 15
"""How long a stopping keeper waits for its replicas: longer than they wait for their requests."""
LONGEST_PAUSE_S = 5.0
"""Before a replica that dies again and again is started the next time."""
_report = logging.getLogger("bottega.serving")


@dataclass(frozen=True)
class Group:
    """What is kept: so many replicas at one address, with these words on each one's command line."""

    workspace: Workspace
    host: str
    port: int
    grpc_port: int | None
    token: str
    options: Sequence[str]
    replicas: int


def keep(group: Group) -> None:
    """Run the replicas until SIGTERM or SIGINT. Raises Unavailable where one does not start or does not end well."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bottega-replicas-"))
        port = stack.enter_context(reserved(group.host, group.port))
        grpc_port = None if group.grpc_port is None else stack.enter_context(reserved(group.host, group.grpc_port))
        asyncio.run(_Keeper(group, port, grpc_port, Path(folder)).run())


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port, for 0 any free one, so that only sockets that share it are bound to it: the port's number.

    Raises Unavailable where another process has it, Unsupported where ports cannot be shared.
    """
    if not sys.platform.startswith("linux"):
        raise Unsupported("This system does not share a port's connections between processes.", next_step="Run one.")
    with bind(host, port) as alone:  # which nobody else may have, shared or not
        number = alone.getsockname()[1]
    with bind(host, number, shared=True, listen=False):
        yield number


class _Keeper:
    def __init__(self, group: Group, port: int, grpc_port: int | None, folder: Path) -> None:
        self._group, self._port, self._grpc_port, self._folder = group, port, grpc_port, folder
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        stopper = asyncio.create_task(self._stop())
        ready = [asyncio.Event() for _ in range(self._group.replicas)]
        keeping = [asyncio.create_task(self._keep(number, event)) for number, event in enumerate(ready)]
        announcing = asyncio.create_task(self._announce(ready))
        try:
            await asyncio.gather(*keeping)
        finally:
            self._stopping.set()  # where one did not start, the others end, too
            await asyncio.gather(*keeping, return_exceptions=True)
            announcing.cancel()
            withdraw(self._group.workspace)
            await stopper

    async def _announce(self, ready: Sequence[asyncio.Event]) -> None:
        for event in ready:
            await event.wait()
        address = Address(os.getpid(), self._group.host, self._port, datetime.now(UTC), self._grpc_port)
        write_json(self._group.workspace.server, address)

    async def _keep(self, number: int, ready: asyncio.Event) -> None:
        pause_s = 0.1
        while True:
            code, answered = await self._run_once(number, ready)
            if self._stopping.is_set() and code == 0:
                return
            if self._stopping.is_set() or not ready.is_set():
                raise Unavailable(f"Replica {number} ended with exit code {code}.", next_step="Its log says why.")
            pause_s = 0.1 if answered else min(2 * pause_s, LONGEST_PAUSE_S)
            _report.error("replica %d ended with exit code %d and is started again", number, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
                return

    async def _run_once(self, number: int, ready: asyncio.Event) -> tuple[int, bool]:
        """Start a replica and wait for its end: its exit code, and whether it ever answered."""
        process = await asyncio.create_subprocess_exec(
            *self._command(number),
            env={**os.environ, TOKEN_VARIABLE: self._group.token},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._processes[number] = process
        assert process.stdout is not None
        if self._stopping.is_set():
            process.terminate()
        answered = await process.stdout.readline() == READY
        if answered:
            ready.set()
        code = await process.wait()
        del self._processes[number]
        return code, answered

    async def _stop(self) -> None:
        """Once it is time: end all replicas, by force those that do not end."""
        await self._stopping.wait()
        for process in self._processes.values():
            process.terminate()
        until = asyncio.get_running_loop().time() + DRAIN_S
        while self._processes and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        for process in self._processes.values():
            process.kill()

    def _command(self, number: int) -> list[str]:
        grpc = [] if self._grpc_port is None else ["--grpc-port", str(self._grpc_port)]
        return [
            *(sys.executable, "-m", "bottega.serving.server", "--workspace", str(self._group.workspace.root)),
            *("--host", self._group.host, "--port", str(self._port), *grpc, *self._group.options),
            *("--replica", str(number), "--siblings", str(self._folder)),
        ]
