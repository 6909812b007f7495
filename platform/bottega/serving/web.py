"""HTTP over ASGI: a request with its whole body, an answer, and errors as JSON."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from bottega.errors import BottegaError, InvalidInput, TooLarge, Unsupported
from bottega.serving.trace import NO_TRACE, Trace, read_trace

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
"""Lower-case names and their values."""

MAX_BODY = 16 << 20
MAX_READ = 256 << 20
"""A body over MAX_BODY is refused, but read up to here, so that the client gets the answer and not a broken pipe."""

MAX_ERROR = 600
JSON = b"application/json"
_TRACED = (b"x-request-id", b"traceparent")


class WrongMethod(InvalidInput):
    """The path exists, but not for this method."""

    http_status = 405


class Unauthorized(InvalidInput):
    """The request carries no valid token."""

    http_status = 401


class UnknownEncoding(InvalidInput):
    """The body is compressed in a way that the server does not read."""

    http_status = 415


class Disconnected(Exception):
    """The client went away before its request was complete."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""
    size: int = 0
    """Bytes that came; more than `body` has where they were too many."""
    query: bytes = b""
    """What follows `?` in the address."""
    trace: Trace = NO_TRACE
    """The ids that the client gave it."""

    def check_size(self) -> None:
        """Raise TooLarge where the body was over the limit."""
        if self.size > MAX_BODY:
            raise TooLarge(f"The body has more than {MAX_BODY} bytes.", next_step="Send several smaller requests.")

    def header(self, name: bytes) -> str | None:
        """Value of the first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def asks(self, name: str) -> bool | None:
        """Whether the query says `name=true` or `name=false`; None where it does not name it.

        Raises InvalidInput for any other value.
        """
        given = parse_qs(self.query.decode("latin-1"), keep_blank_values=True).get(name)
        if given is None:
            return None
        if given[-1] not in ("true", "false"):
            raise InvalidInput(f"{name}={given[-1][:40]!r} is neither true nor false.")
        return given[-1] == "true"

    def traced(self) -> "Request":
        """The request with the ids that its headers hold."""
        given = [(name.decode(), value.decode("latin-1")) for name, value in self.headers if name in _TRACED]
        return replace(self, trace=read_trace(given)) if given else self

    def need(self, method: str) -> None:
        """Raise WrongMethod unless the request has this method."""
        if self.method != method and not (self.method == "HEAD" and method == "GET"):
            raise WrongMethod(f"{self.method} is not possible at {self.path[:200]}.", next_step=f"Use {method}.")


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def traced(self, trace: Trace) -> "Response":
        """The answer with the ids of its request."""
        found = tuple((name.encode(), value.encode("latin-1")) for name, value in trace.headers())
        return replace(self, headers=(*self.headers, *found)) if found else self


def as_json(value: object, status: int = 200) -> Response:
    """An answer with `value` as JSON."""
    return Response(msgspec.json.encode(value), status)


def as_error(error: Exception) -> Response:
    """The answer for an error: what and the next step for ours, no detail for any other."""
    if not isinstance(error, BottegaError):
        return as_json({"error": "The server failed on this request; its log says why."}, 500)
    status = 400 if isinstance(error, Unsupported) else error.http_status  # the client's to change: no 5xx
    return as_json({"error": _shorten(str(error))}, status)


def _shorten(text: str) -> str:
    """The text without the middle of what may be a whole body that a client sent."""
    return text if len(text) <= MAX_ERROR else f"{text[: MAX_ERROR // 2]} ... {text[-MAX_ERROR // 2 :]}"


async def read_request(scope: Scope, receive: Receive) -> Request:
    """The request with its body, of which at most MAX_BODY bytes are kept. Raises Disconnected without its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body = message.get("body", b"")
        size += len(body)
        if size <= MAX_BODY:
            parts.append(body)
        if not message.get("more_body", False) or size > MAX_READ:
            break
    return Request(scope["method"], scope["path"], scope["headers"], b"".join(parts), size, scope["query_string"])


async def send_response(response: Response, send: Send) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % len(response.body))]
    headers.extend(response.headers)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
