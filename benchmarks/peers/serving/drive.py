"""Drivers: each sends a case's requests over some connections for some seconds, in a process of its own, and counts."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from peers.serving.server import pinned

GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


class DriverFailed(Exception):
    """The driver did not come to an end, or requests failed."""


class Driven(msgspec.Struct, frozen=True):
    """What a driver counted; each connection has one request under way at a time."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


class Target(msgspec.Struct, frozen=True):
    """A port, a path, and the folder of the bodies to send: files 0, 1, ..., and the headers to send with them."""

    port: int
    path: str
    bodies: str
    count: int
    headers: dict[str, str]


def drive_http(target: Target, connections: int, seconds: int, core: int | None) -> Driven:
    """By wrk, with one thread. Raises DriverFailed."""
    environment = dict(os.environ) | {
        "BODIES": target.bodies,
        "COUNT": str(target.count),
        "HEADERS": "\n".join(f"{name}: {value}" for name, value in target.headers.items()),
    }
    script = str(Path(__file__).parent / "post.lua")
    url = f"http://127.0.0.1:{target.port}{target.path}"
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url)
    return _drive(pinned(command, core), environment, b"", seconds)


def drive_grpc(target: Target, connections: int, seconds: int, core: int | None) -> Driven:
    """By the client in grpc_client.py. Raises DriverFailed."""
    command = (sys.executable, "-m", "peers.serving.grpc_client", str(connections), str(seconds))
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return _drive(pinned(command, core), environment, msgspec.json.encode(target), seconds)


def _drive(command: list[str], environment: dict[str, str], given: bytes, seconds: int) -> Driven:
    try:
        done = subprocess.run(
            command, env=environment, input=given, capture_output=True, timeout=seconds + 60, check=False
        )
        driven = msgspec.json.decode(done.stdout.splitlines()[-1], type=Driven)
    except subprocess.TimeoutExpired:
        raise DriverFailed("the driver did not end in time") from None
    except (IndexError, msgspec.DecodeError):
        raise DriverFailed(f"the driver failed: {done.stderr.decode(errors='replace').strip()[-300:]}") from None
    if driven.failed or not driven.requests:
        raise DriverFailed(f"{driven.failed} of {driven.requests} requests failed")
    return driven
