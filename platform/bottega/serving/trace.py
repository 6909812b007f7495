"""Whose request it is: the ids that clients give a request, by which its answer, log lines and logged rows are found.

Source: W3C "Trace Context", level 1, section 3.2 (the traceparent header). A malformed one counts as none.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

REQUEST_ID, TRACE_PARENT = "x-request-id", "traceparent"
MAX_ID = 128
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """`request_id` as the client gave it; `trace_id` of 32 hex digits, `span_id` of this server's part of the trace.

    Each is empty where the client gave none.
    """

    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    flags: str = ""

    def fields(self) -> dict[str, str]:
        """For log lines."""
        named = {"request_id": self.request_id, "trace_id": self.trace_id, "span_id": self.span_id}
        return {name: value for name, value in named.items() if value}

    def headers(self) -> list[tuple[str, str]]:
        """What goes back to the client: its request id, and the trace with this server's span."""
        found = []
        if is_id(self.request_id):
            found.append((REQUEST_ID, self.request_id))
        if self.trace_id:
            found.append((TRACE_PARENT, f"00-{self.trace_id}-{self.span_id}-{self.flags}"))
        return found


NO_TRACE = Trace()


def read_trace(headers: Iterable[tuple[str, str]]) -> Trace:
    """The ids in headers (or gRPC metadata), whose names are in lower case."""
    request_id, parents = "", []
    for name, value in headers:
        if name == REQUEST_ID and not request_id:
            request_id = value
        elif name == TRACE_PARENT:
            parents.append(value)
    if not request_id and not parents:
        return NO_TRACE
    trace_id, flags = _read_parent(parents[0]) if len(parents) == 1 else ("", "")
    return Trace(request_id, trace_id, secrets.token_hex(8) if trace_id else "", flags)


def is_id(value: str) -> bool:
    """Whether a text can be a request's id: 1 to 128 printable characters of ASCII."""
    return 1 <= len(value) <= MAX_ID and value.isascii() and value.isprintable()


def _read_parent(value: str) -> tuple[str, str]:
    """Trace id and flags (of which this version knows the lowest bit: sampled); empty where malformed.

    >>> _read_parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', '01')
    """
    found = _PARENT.fullmatch(value.strip(" \t"))
    if found is None:
        return "", ""
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not int(trace_id, 16) or not int(parent_id, 16):
        return "", ""
    return trace_id, f"{int(flags, 16) & 1:02x}"
