"""Compressed bodies, gzip and deflate (RFC 1952 and 1950), both ways."""

import zlib
from dataclasses import replace

from bottega.errors import InvalidInput, TooLarge
from bottega.serving.web import MAX_BODY, Request, Response, UnknownEncoding

SMALLEST = 1024
"""Bytes; a smaller answer is sent plain, since compressing costs more than it saves."""
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1


def unpacked(request: Request) -> Request:
    """The request with its body as it was before it was compressed.

    Raises UnknownEncoding, InvalidInput where the data is damaged, TooLarge where it grows over the limit of a body:
    nothing is unpacked beyond it.
    """
    encoding = (request.header(b"content-encoding") or "").strip().lower()
    if encoding in ("", "identity"):
        return request
    if encoding not in _WINDOW:
        raise UnknownEncoding(
            f"The content encoding {encoding[:40]!r} is not understood.", next_step="Send it plain, gzip or deflate."
        )
    unpacker = zlib.decompressobj(_WINDOW[encoding])
    try:
        found = unpacker.decompress(request.body, MAX_BODY + 1)
    except zlib.error as error:
        raise InvalidInput(f"The body is no {encoding}: {error}.") from None
    if len(found) > MAX_BODY:
        raise TooLarge(f"The body unpacks to more than {MAX_BODY} bytes.", next_step="Send several smaller requests.")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidInput(f"The body is no whole {encoding}: it ends early, or more follows it.")
    return replace(request, body=found)


def accepted_encoding(request: Request) -> str:
    """The encoding that a client's Accept-Encoding allows us: gzip, deflate, or none."""
    accepted = request.header(b"accept-encoding")
    if not accepted:
        return ""
    for part in accepted.split(","):
        name, _, quality = part.strip().lower().partition(";")
        if name.strip() in _WINDOW and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name.strip()
    return ""


def compressed(response: Response, request: Request) -> Response:
    """The answer in an encoding that the client accepts, where it is large enough."""
    if len(response.body) < SMALLEST or not (encoding := accepted_encoding(request)):
        return response
    packer = zlib.compressobj(_LEVEL, wbits=_WINDOW[encoding])
    body = packer.compress(response.body) + packer.flush()
    headers = (*response.headers, (b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding"))
    return Response(body, response.status, response.content_type, headers)
