"""A load generator: keep-alive connections that ask as fast as they are answered, in a process of its own."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from urllib.parse import urlsplit

import msgspec
import numpy as np

from bottega.errors import Unavailable


class Load(msgspec.Struct, frozen=True):
    """What the clients saw: latencies in milliseconds, answers a second, answers that were no success."""

    requests: int
    errors: int
    rps: float
    p50_ms: float
    p99_ms: float
    seconds: float


class Plan(msgspec.Struct, frozen=True):
    """One measurement: `bodies` are sent in turn to `path`; the first `warm_s` seconds do not count."""

    url: str
    path: str
    bodies: list[bytes]
    connections: int = 1
    seconds: float = 5.0
    warm_s: float = 0.5
    token: str = ""


def measure(
    url: str,
    path: str,
    bodies: Sequence[bytes],
    *,
    connections: int = 1,
    seconds: float = 5.0,
    warm_s: float = 0.5,
    token: str = "",
) -> Load:
    """Drive a server and say how it answered. Raises Unavailable where it does not answer at all."""
    plan = Plan(url, path, list(bodies), connections, seconds, warm_s, token)
    command = [sys.executable, "-m", "bottega.serving.load"]
    done = subprocess.run(command, input=msgspec.json.encode(plan), capture_output=True, timeout=seconds + 60)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise Unavailable(f"The load generator failed on {url}{path}: {last[0]}")
    return msgspec.json.decode(done.stdout, type=Load)


async def drive(plan: Plan) -> Load:
    """Run the clients of one measurement."""
    address = urlsplit(plan.url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    token = f"Authorization: Bearer {plan.token}\r\n" if plan.token else ""
    requests = [
        f"POST {plan.path} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in plan.bodies
    ]
    begin = time.perf_counter() + plan.warm_s
    end = begin + plan.seconds
    clients = [
        _client(host, port, requests[i % len(requests) :] + requests[: i % len(requests)], begin, end)
        for i in range(plan.connections)
    ]
    results = await asyncio.gather(*clients)
    latencies = np.array([latency for part, _ in results for latency in part])
    if not len(latencies):
        raise Unavailable(f"{plan.url}{plan.path} answered nothing in {plan.seconds:g} s.")
    p50, p99 = (float(quantile) * 1e3 for quantile in np.quantile(latencies, (0.5, 0.99)))
    errors = sum(part for _, part in results)
    return Load(
        len(latencies), errors, round(len(latencies) / plan.seconds, 1), round(p50, 4), round(p99, 4), plan.seconds
    )


async def _client(host: str, port: int, requests: list[bytes], begin: float, end: float) -> tuple[list[float], int]:
    reader, writer = await asyncio.open_connection(host, port)
    latencies: list[float] = []
    errors = 0
    for request in cycle(requests):
        started = time.perf_counter()
        if started >= end:
            break
        writer.write(request)
        status = await _read_answer(reader)
        done = time.perf_counter()
        if started >= begin:
            latencies.append(done - started)
            errors += status != 200
    writer.close()
    return latencies, errors


async def _read_answer(reader: asyncio.StreamReader) -> int:
    """Read one answer whole; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    if length:
        await reader.readexactly(length)
    return int(lines[0].split(b" ")[1])


def main() -> int:
    """Read a Plan as JSON from standard input, write the Load to standard output; the exit code."""
    import uvloop

    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    try:
        load = uvloop.run(drive(plan))
    except (OSError, asyncio.IncompleteReadError, Unavailable) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(load))
    return 0


if __name__ == "__main__":
    sys.exit(main())
