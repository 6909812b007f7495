"""One HTTP connection: uvicorn's protocol, with a short way for predictions.

A prediction needs none of what ASGI gives: its body comes whole, its answer goes whole, and it waits once, for its
batch. So it goes from the parser straight to the model's express lane, and its answer to the socket; what the lane does
not take is answered by the application's coroutine, run by hand. Every other request, and one that a client sends ahead
of the answers, takes uvicorn's way. Limits, keep-alive and shutdown are uvicorn's for both.

A client that keeps its connection sends the same head again and again. The bytes of the last one are kept: a message
that begins with them, and has the length that they say, is not parsed again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bottega.serving import v2
from bottega.serving.compression import SMALLEST, compressed
from bottega.serving.patience import Patience
from bottega.serving.rest import Route
from bottega.serving.web import MAX_BODY, MAX_READ, Headers, Request, Response, as_json

MAX_HEADERS = 64 << 10
"""Bytes of the request line and all headers."""
LINGER_S = 1.0
"""How long a refused client may take to read why."""
_SHORT = (b"/infer", b"/predict")
_END = b"\r\n\r\n"


class Connection(HttpToolsProtocol):
    """The protocol class that uvicorn is given; its application is `bottega.serving.rest.App`."""

    _short: "_Short | None" = None
    _head_bytes = 0
    _between = True
    """Whether the parser has no message begun."""
    _whole: bytes = b""
    """The data of this turn, where a message began with it."""
    _known: "_Head | None" = None
    _answered_at = 0.0
    _awaits_since: float | None = None
    """Since when the client has owed the rest of the head, or of the body; None while it owes nothing."""
    _owes_body = False
    _unread_since: float | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects, and owes a request."""
        super().connection_made(transport)
        self._awaits_since = self.loop.time()

    def end_if_slow(self, now: float, patience: Patience) -> None:
        """End the connection where its client is slower than it may be, with an answer where one is due."""
        if not self.flow.write_paused:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > patience.unread_s:
            self.transport.abort()
        answered = self.cycle is None or self.cycle.response_complete
        if self._refused or self.transport.is_closing() or self.pipeline or not (answered or self._owes_body):
            return  # it ends already, or an earlier request is being answered
        if self._awaits_since is None:
            if self._between and self.timeout_keep_alive_task is None:
                self._awaits_since = now  # empty lines between requests have ended uvicorn's wait
            return
        limit_s, what = (patience.body_s, "body") if self._owes_body else (patience.head_s, "head")
        if now - self._awaits_since <= limit_s:
            return
        if answered and self._owes_body:
            self.transport.close()  # the answer did not need the body
        else:
            self._refuse(408, f"The request's {what} did not come within {limit_s:g} s.")

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        known = self._known
        if (
            known is not None
            and len(data) == known.size
            and data.startswith(known.text)
            and self._between
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        ):
            self.cycle = short = _Short(self, known)  # type: ignore[assignment]
            short.body = data[len(known.text) :]
            short.size = len(short.body)
            self._ask(short)
            return
        if not self._refused:
            self._whole = data if self._between else b""
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between, self._short, self._head_bytes = False, None, 0
        self._awaits_since, self._owes_body = self.loop.time(), False
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
        self._awaits_since, self._owes_body = self.loop.time(), True
        path = self.url
        if (
            not path.endswith(_SHORT)
            or self.parser.get_method() != b"POST"
            or self.expect_100_continue
            or self.parser.should_upgrade()
            or b"%" in path
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.flow.write_paused
        ):
            super().on_headers_complete()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        name = path.decode("ascii")
        self._short = _Short(self, _Head(name, self.headers, keep_alive, self.app.route(name, self.headers)))
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
            self.send(short, as_json({"error": f"The body has more than {MAX_READ} bytes."}, 413))

    def on_message_complete(self) -> None:
        """The request is whole: have the application answer it."""
        self._between, self._awaits_since, self._owes_body = True, None, False
        short = self._short
        if short is None:
            super().on_message_complete()
        elif not short.response_complete:
            self._known = short.head if short.head.learn(self._whole, short.size) else None
            short.body = b"".join(short.parts)
            self._ask(short)
        self._whole = b""

    def _ask(self, short: "_Short") -> None:
        route = short.head.route
        if route is None or short.size > MAX_BODY or not self.app.take(route, short.body, short):
            short.take_long_way()

    def send(self, short: "_Short", response: Response) -> None:
        """Answer a request on the short way."""
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
        self.sent(short)

    def sent(self, short: "_Short") -> None:
        """Note that an answer is written."""
        short.response_complete = True
        if not short.keep_alive:
            self.transport.close()
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_next(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """An answer of uvicorn's way is written."""
        self._answered_at = self.loop.time()
        super().on_response_complete()

    def _await_next(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that was silent for so long; one timer stands for all answers of the short way."""
        self.timeout_keep_alive_task = None
        if self.cycle is not None and not self.cycle.response_complete:
            return
        silent_s = self.loop.time() - self._answered_at
        if silent_s < self.timeout_keep_alive:
            self._await_next(self.timeout_keep_alive - silent_s)
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and headers that are too large, as JSON."""
        if self._head_bytes > MAX_HEADERS:
            self._refuse(431, f"The headers have more than {MAX_HEADERS} bytes.")
        else:
            self._refuse(400, "The request is no valid HTTP.")

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is not answered by the application, and end the connection.

        It ends a moment later, and what the client still sends is not read: closed at once, the connection would be
        reset, and the client might never see the answer.
        """
        body = as_json({"error": reason}, status).body
        self.transport.write(STATUS_LINE[status] + _REFUSAL % (len(body), body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._refused, self._known, self._awaits_since = True, None, None
        self.loop.call_later(LINGER_S, self.transport.close)


class _Head:
    """What a message says before its body."""

    __slots__ = ("headers", "keep_alive", "path", "route", "size", "text")

    def __init__(self, path: str, headers: Headers, keep_alive: bool, route: Route | None) -> None:
        self.path, self.headers, self.keep_alive, self.route = path, headers, keep_alive, route
        self.text, self.size = b"", 0

    def learn(self, message: bytes, body: int) -> bool:
        """Keep the head's bytes, where `message` is nothing but it and so many bytes of body by its Content-Length."""
        end = len(message) - body
        if not body or not self.keep_alive or message.find(_END) != end - len(_END):
            return False
        if (b"content-length", b"%d" % body) not in self.headers:
            return False
        self.text, self.size = message[:end], len(message)
        return True


class _Short:
    """A request on the short way; to uvicorn it looks like one of its own, to a lane like who asks."""

    __slots__ = (
        *("body", "connection", "disconnected", "head"),
        *("keep_alive", "message_event", "parts", "response_complete", "size"),
    )

    def __init__(self, connection: Connection, head: _Head) -> None:
        self.connection, self.head, self.keep_alive = connection, head, head.keep_alive
        self.parts: list[bytes] = []
        self.body, self.size = b"", 0
        self.response_complete = self.disconnected = False
        self.message_event = _NOBODY_WAITS

    def reply(self, body: bytes, header_length: int | None) -> None:
        """Send the answer of a lane."""
        if header_length is not None or len(body) >= SMALLEST or not self.keep_alive:
            self._send(compressed(v2.inferred(body, header_length), self._request()))
        elif not (self.disconnected or self.connection.transport.is_closing()):
            self.connection.transport.write(_OK % (len(body), body))
            self.connection.sent(self)

    def take_long_way(self) -> None:
        """Have the application's coroutine answer."""
        _run(self.connection.app.respond(self._request()), self._send)

    def _request(self) -> Request:
        return Request("POST", self.head.path, self.head.headers, self.body, self.size)

    def _send(self, response: Response) -> None:
        self.connection.send(self, response)


_REFUSAL = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
_OK = STATUS_LINE[200] + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


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
