"""A real Redis server for the tests, on a free port and in a folder of its own."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def _installed() -> str:
    """The path of redis-server, installed first where that can be done."""
    if shutil.which("redis-server") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "redis-server"]):
            subprocess.run(command, capture_output=True, check=False, timeout=300)
    path = shutil.which("redis-server")
    if path is None:
        pytest.skip("redis-server is not installed, and cannot be: it is Debian's package, for root to install")
    return path


class RedisServer:
    """Debian's redis-server, which keeps every answered write; it can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        path = _installed()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            *(path, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"),
            *("--appendfsync", "always", "--save", "", *options),
        ]
        self.start()

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith((b"+PONG", b"-NOAUTH")):  # not while it loads its records
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
