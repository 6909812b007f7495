"""One HTTP connection: uvicorn's protocol, with a short way for predictions.

A prediction needs none of what ASGI gives: its body comes whole, its answer goes whole, and it waits once, for its
batch. So the application's coroutine is run by hand (each future that it waits for wakes it again), without a task,
a queue of messages or an event for each request, and its answer is written at once. Every other request, and one that
a client sends ahead of the answers, takes uvicorn's way. Limits, keep-alive and shutdown are uvicorn's for both.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bottega.serving.web import MAX_BODY, MAX_READ, Request, Response, as_json

MAX_HEADERS = 64 << 10
"""Bytes of the request line and all headers."""
_SHORT = (b"/infer", b"/predict")


class Connection(HttpToolsProtocol):
    """The protocol class that uvicorn is given; its application is `bottega.serving.rest.App`."""

    _short: "_Short | None" = None
    _head_bytes = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._short, self._head_bytes = None, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEADERS:
            raise ValueError("too large")  # ends the parser's work: data_received then answers

    def on_headers_complete(self) -> None:
        """Choose the way."""
        path = self.url
        if (
            not path.endswith(_SHORT)
            or self.parser.get_method() != b"POST"
            or self.expect_100_continue
            or self.parser.should_upgrade()
            or b"%" in path
            or (self.cycle is not None and not self.cycle.response_complete)
        ):
            super().on_headers_complete()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self._short = _Short(path.decode("ascii"), self.headers, keep_alive)
        self.cycle = self._short  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """A part of the body; what no answer needs any more is not kept."""
        short = self._short
        if short is None:
            super().on_body(body)
            return
        short.size += len(body)
        if short.size <= MAX_BODY:
            short.parts.append(body)
        elif short.size > MAX_READ and not short.response_complete:
            self._send(short, as_json({"error": f"The body has more than {MAX_READ} bytes."}, 413))

    def on_message_complete(self) -> None:
        """The request is whole: have the application answer it."""
        short = self._short
        if short is None:
            super().on_message_complete()
        elif not short.response_complete:
            request = Request("POST", short.path, short.headers, b"".join(short.parts), short.size)
            _run(self.app.respond(request), lambda response: self._send(short, response))

    def _send(self, short: "_Short", response: Response) -> None:
        if short.disconnected or self.transport.is_closing():
            return
        head = [
            STATUS_LINE[response.status],
            b"content-type: ",
            response.content_type,
            b"\r\ncontent-length: %d\r\n" % len(response.body),
        ]
        for name, value in response.headers:
            head += [name, b": ", value, b"\r\n"]
        if not short.keep_alive:
            head.append(b"connection: close\r\n")
        self.transport.write(b"".join([*head, b"\r\n", response.body]))
        short.response_complete = True
        if not short.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and headers that are too large, as JSON."""
        if self._head_bytes > MAX_HEADERS:
            status, reason = 431, f"The headers have more than {MAX_HEADERS} bytes."
        else:
            status, reason = 400, "The request is no valid HTTP."
        response = as_json({"error": reason}, status)
        self._send(_Short("", [], keep_alive=False), response)


class _Short:
    """A request on the short way; to uvicorn it looks like one of its own."""

    __slots__ = ("disconnected", "headers", "keep_alive", "message_event", "parts", "path", "response_complete", "size")

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]], keep_alive: bool) -> None:
        self.path, self.headers, self.keep_alive = path, headers, keep_alive
        self.parts: list[bytes] = []
        self.size = 0
        self.response_complete = self.disconnected = False
        self.message_event = _NOBODY_WAITS


class _NobodyWaits:
    def set(self) -> None:
        """uvicorn wakes who waits for the body: nobody does."""


_NOBODY_WAITS = _NobodyWaits()


def _run(coroutine: Coroutine[Any, Any, Response], done: Callable[[Response], None]) -> None:
    """Run a coroutine without a task: up to the future that it waits for, and on when that is there."""
    try:
        waited: asyncio.Future[Any] | None = coroutine.send(None)
    except StopIteration as end:
        done(end.value)
        return
    if waited is None:  # it gave way for a turn of the loop
        asyncio.get_running_loop().call_soon(_run, coroutine, done)
        return
    waited._asyncio_future_blocking = False  # what a task does to say that it has seen the future
    waited.add_done_callback(lambda _: _run(coroutine, done))
