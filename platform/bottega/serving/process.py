"""The server as a process of its own: started, awaited and stopped by another program."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from bottega.errors import Unavailable
from bottega.serving.address import Address, read_server
from bottega.serving.client import Client
from bottega.workspace import Workspace

STOP_S = 15


@contextlib.contextmanager
def running(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int = 0,
    timeout_s: float = 60.0,
    options: Sequence[str] = (),
) -> Iterator[Address]:
    """Run the server of a workspace for the length of a `with` block; `port` 0 takes any free one.

    `options` are more words of its command line, for example `--repository DIR`. Yields once it is ready. Raises
    Unavailable, with the reason, where it ends or is not ready in `timeout_s`.
    """
    with tempfile.TemporaryFile() as said:
        process = start(workspace, host, port, said, options)
        try:
            yield wait_until_ready(process, workspace, timeout_s, said)
        finally:
            stop(process)


def start(
    workspace: Workspace, host: str, port: int, said: IO[bytes] | None = None, options: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    """Start a server process; what it says goes to `said`."""
    command = [sys.executable, "-m", "bottega.serving.server", "--workspace", str(workspace.root)]
    return subprocess.Popen([*command, "--host", host, "--port", str(port), *options], stdout=said, stderr=said)


def wait_until_ready(
    process: "subprocess.Popen[bytes]", workspace: Workspace, timeout_s: float = 60.0, said: IO[bytes] | None = None
) -> Address:
    """Wait until the process answers with everything that is deployed. Raises Unavailable, with the reason."""
    deadline = time.monotonic() + timeout_s
    reason = f"it did not answer in {timeout_s:g} s"
    while time.monotonic() < deadline and process.poll() is None:
        address = read_server(workspace)
        if address is not None and address.pid == process.pid:
            with Client.at(address) as client:
                status = client.status()
            if status.ready:
                return address
            reason = "; ".join(f"{name}: {text}" for name, text in status.failures.items())
            break
        time.sleep(0.02)
    if process.poll() is not None:
        reason = _last_line(said) or f"it ended with exit code {process.returncode}"
    raise Unavailable(f"The server of workspace {workspace.root} is not ready: {reason.rstrip('.')}.")


def _last_line(said: IO[bytes] | None) -> str:
    if said is None:
        return ""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def stop(process: "subprocess.Popen[bytes]", timeout_s: float = STOP_S) -> int:
    """End a server process as an operator would (SIGTERM); its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
