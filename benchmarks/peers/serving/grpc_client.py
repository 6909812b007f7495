"""A gRPC client that costs little: HTTP/2 as far as one unary call after the other on a connection needs it.

A general client takes longer for a call than a fast server, and would measure itself. The request's headers are the
same for all calls, so they are encoded once, without the table of HPACK; of an answer only the data are read: a call
that fails has none.

    python -m peers.serving.grpc_client <connections> <seconds>        (a Target as JSON on standard input)
"""

import asyncio
import statistics
import struct
import sys
import time
from pathlib import Path

import msgspec

from peers.serving.drive import Driven, Target

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_LARGE = 2**31 - 1
_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW = 65_535
"""Bytes of all calls that may be sent before the server says that it has taken them."""


class CallFailed(Exception):
    """The server answered without a message, or went away."""


class Connection(asyncio.Protocol):
    """One connection, with one call at a time, until it is closed."""

    def __init__(self, calls: list[bytes], path: str, port: int) -> None:
        self._bodies = [struct.pack(">BI", 0, len(call)) + call for call in calls]
        self._headers = _encode(path, port)
        self._buffer, self._message = bytearray(), bytearray()
        self._stream, self._window, self._began_ns = -1, _INITIAL_WINDOW, 0
        self._waiting = False
        self.latencies_ns: list[int] = []
        self.answers: list[bytes] = []
        self.wanted = 0
        """Calls after which it stops; 0 is no limit."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Say how much may be sent to us, then call."""
        self._transport = transport
        settings = struct.pack(">HIHI", 2, 0, 4, _LARGE)  # no push; the window of each call
        window = struct.pack(">I", _LARGE - _INITIAL_WINDOW)
        transport.write(_OPENING + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, window))
        self._call()

    def data_received(self, data: bytes) -> None:
        """Take the whole frames of what has come."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 9:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < 9 + size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            self._take(kind, flags, int.from_bytes(buffer[at + 5 : at + 9], "big"), buffer[at + 9 : at + 9 + size])
            at += 9 + size
        del buffer[:at]

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        self._end("the connection was lost")

    def close(self) -> None:
        """Make no more calls."""
        self._end("")
        self._transport.close()

    def _call(self) -> None:
        if self.ended.done():
            return
        body = self._bodies[len(self.latencies_ns) % len(self._bodies)]
        self._waiting = self._window < len(body)
        if self._waiting:
            return
        self._window -= len(body)
        self._stream += 2
        self._message.clear()
        self._began_ns = time.perf_counter_ns()
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, self._stream, self._headers) + _frame(_DATA, _END_STREAM, self._stream, body)
        )

    def _take(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        if kind == _DATA:
            self._message += payload
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, bytes(payload)))
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
            if self._waiting:
                self._call()
        elif kind in (_RESET, _GOAWAY):
            self._end("the server ended the call")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._answered()

    def _answered(self) -> None:
        if not self._message:
            self._end("an answer without a message")
            return
        self.latencies_ns.append(time.perf_counter_ns() - self._began_ns)
        if self.wanted:
            self.answers.append(bytes(self._message[5:]))
            if len(self.latencies_ns) == self.wanted:
                self._end("")
        self._call()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            if why:
                self.ended.set_exception(CallFailed(why))
            else:
                self.ended.set_result(None)


async def ask(port: int, path: str, calls: list[bytes]) -> list[bytes]:
    """The answer to each call, on one connection. Raises CallFailed, OSError."""
    connection = await _connect(port, path, calls)
    connection.wanted = len(calls)
    async with asyncio.timeout(10):
        await connection.ended
    connection.close()
    return connection.answers


async def drive(target: Target, connections: int, seconds: float) -> Driven:
    """Call on all connections for some seconds."""
    calls = [Path(target.bodies, str(i)).read_bytes() for i in range(target.count)]
    began = time.perf_counter()
    opened = [await _connect(target.port, target.path, calls) for _ in range(connections)]
    done, _ = await asyncio.wait([one.ended for one in opened], timeout=seconds)
    took_s = time.perf_counter() - began
    failed = sum(1 for one in done if one.exception())
    latencies_ns = sorted(latency for one in opened for latency in one.latencies_ns)
    for one in opened:
        one.close()
    p99 = statistics.quantiles(latencies_ns, n=100, method="inclusive")[98] if len(latencies_ns) > 1 else 0.0
    p50 = statistics.median(latencies_ns) if latencies_ns else 0.0
    return Driven(len(latencies_ns), took_s, p50 / 1e6, p99 / 1e6, failed)


async def _connect(port: int, path: str, calls: list[bytes]) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(calls, path, port), "127.0.0.1", port)
    return connection


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _encode(path: str, port: int) -> bytes:
    """The headers of a call as literals that no table remembers."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": f"127.0.0.1:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def main(connections: int, seconds: float, given: bytes) -> None:
    """Drive, and tell what was counted as a line of JSON."""
    import uvloop

    driven = uvloop.run(drive(msgspec.json.decode(given, type=Target), connections, seconds))
    sys.stdout.write(msgspec.json.encode(driven).decode() + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.stdin.buffer.read())
