"""External services: how the platform asks one for features of its entities, and what it takes for an answer.

    POST <address>
    {"keys": {"zone": [4, 7]}, "at": ["2024-01-16T13:00:00Z", "2024-01-16T13:10:00Z"]}

    200 OK
    {"features": {"temperature_c": [3.5, null], "rain_mm": [0, 0.2]}}

The lists are parallel, one row a question, at most `MOST_ROWS` of them. `at` is always a whole multiple of the view's
`max_age`, in UTC: an answer about it holds until the next one. null says that there is no value. Features that nobody
asked for are ignored; anything else than this is no answer.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import numpy as np

from bottega.errors import InvalidInput, NotFound, Unavailable
from bottega.features.entity import key_range
from bottega.features.steps import Service

if TYPE_CHECKING:
    import httpx

MOST_ROWS = 1000
MOST_BYTES = 8 * 2**20
"""Largest answer that is read."""
LONGEST_KEY = 1000
"""Most characters of a key of text."""
LAST_US = 32_503_680_000_000_000
"""The year 3000."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again makes sense."""

Ask = tuple[int | str, ...]
"""One question: the moment (epoch_us), then the entity's keys."""


class Failed(Unavailable):
    """A service gave no answer. `reason` is timeout, unreachable, status or malformed; `again` says if it may yet."""

    def __init__(self, service: Service, reason: str, detail: str, again: bool = True) -> None:
        super().__init__(
            f"The service of view {service.view!r} gave no answer ({reason}): {detail}.",
            next_step=f"See whether {service.endpoint!r} is up and keeps the protocol.",
        )
        self.reason = reason
        self.again = again


class _Answer(msgspec.Struct):
    features: dict[str, msgspec.Raw]


def find_address(endpoint: str, endpoints: Mapping[str, str]) -> str:
    """The address of an endpoint: itself, or what the setting of that name says."""
    if "://" in endpoint:
        return check_address(endpoint)
    named = {name.lower(): address for name, address in endpoints.items()}
    if endpoint.lower() not in named:
        raise NotFound(
            f"The endpoint {endpoint!r} has no address.",
            next_step=f"Set BOTTEGA_ENDPOINT_{endpoint.upper()}, or {endpoint} below [endpoints] in bottega.toml.",
        )
    return check_address(named[endpoint.lower()])


def check_address(address: str) -> str:
    """The address; InvalidInput where it is none of HTTP."""
    try:
        parts = urlsplit(address)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or any(character.isspace() for character in address):
        raise InvalidInput(f"{address!r} is no address of a service.", next_step="Write http://host:port/path.")
    return address


def number_asks(service: Service, keys: Sequence[np.ndarray], at_us: np.ndarray) -> tuple[list[Ask], np.ndarray]:
    """The different questions of a batch, and the number of the one that each row asks: (batch,) int64.

    A row whose keys are not of the entity's type, or whose moment is none, asks nothing: -1.
    """
    age_us = service.max_age_s * 1_000_000
    moments = [at // age_us * age_us if 0 <= at < LAST_US else None for at in np.asarray(at_us).tolist()]
    columns = [_clean(key, service.key_dtype) for key in keys]
    asks: dict[Ask, int] = {}
    numbers = np.full(len(moments), -1)
    for row, ask in enumerate(zip(moments, *columns, strict=True)):
        if None not in ask:
            numbers[row] = asks.setdefault(ask, len(asks))
    return list(asks), numbers


def _clean(column: np.ndarray, dtype: str) -> list[int | str | None]:
    """A key column's values, None for what is no key of that type."""
    given = np.asarray(column)
    if dtype == "string":
        return [v if isinstance(v, str) and len(v) <= LONGEST_KEY else None for v in given.tolist()]
    if given.dtype.kind not in "iuf":
        return [None] * len(given)
    least, greatest = key_range(dtype)
    if given.dtype.kind == "f":
        exact = np.abs(given) < 2**53
        return [
            int(v) if fits and v.is_integer() and least <= v <= greatest else None
            for v, fits in zip(given.tolist(), exact.tolist(), strict=True)
        ]
    return [v if least <= v <= greatest else None for v in given.tolist()]


def ask(client: "httpx.Client", address: str, service: Service, asks: Sequence[Ask], timeout_s: float) -> np.ndarray:
    """Ask a service at most MOST_ROWS questions: (features, asks) float64, NaN where there is no value.

    Raises Failed where no whole answer came within `timeout_s`.
    """
    import httpx

    deadline = time.monotonic() + timeout_s
    received = bytearray()
    try:
        with client.stream("POST", address, content=question(service, asks), timeout=timeout_s) as answer:
            if answer.status_code != 200:
                status = answer.status_code
                raise Failed(service, "status", f"it said {status}", again=status in AGAIN)
            for part in answer.iter_bytes():
                received += part
                if len(received) > MOST_BYTES:
                    raise Failed(service, "malformed", f"more than {MOST_BYTES} bytes came", again=False)
                if time.monotonic() > deadline:
                    raise Failed(service, "timeout", f"not all of it came within {timeout_s:g} s")
    except httpx.TimeoutException:
        raise Failed(service, "timeout", f"it took longer than {timeout_s:g} s") from None
    except httpx.TransportError as error:
        raise Failed(service, "unreachable", str(error) or type(error).__name__) from None
    except httpx.RequestError as error:
        raise Failed(service, "malformed", str(error), again=False) from None
    return read_answer(service, bytes(received), len(asks))


def question(service: Service, asks: Sequence[Ask]) -> bytes:
    """The body of one request."""
    moments, *keys = zip(*asks, strict=True)
    at = np.datetime_as_string(np.array(moments, "datetime64[us]"), unit="s", timezone="UTC")
    return msgspec.json.encode({"keys": dict(zip(service.keys, keys, strict=True)), "at": at.tolist()})


def read_answer(service: Service, body: bytes, rows: int) -> np.ndarray:
    """The values of an answer's body: (features, rows) float64. Raises Failed where it does not keep the protocol."""
    try:
        found = msgspec.json.decode(body, type=_Answer).features
        missing = [name for name in service.features if name not in found]
        if missing:
            raise Failed(service, "malformed", f"it lacks {', '.join(missing)}", again=False)
        lists = [msgspec.json.decode(found[name], type=list[float | None]) for name in service.features]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(service, "malformed", str(error), again=False) from None
    lengths = {len(values) for values in lists} - {rows}
    if lengths:
        raise Failed(service, "malformed", f"it has {lengths.pop()} values for {rows} questions", again=False)
    values = np.array([[np.nan if v is None else v for v in one] for one in lists], np.float64)
    if np.isinf(values).any():
        raise Failed(service, "malformed", "a value is infinite", again=False)
    return values


def with_defaults(service: Service, values: np.ndarray, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The features of each row, (batch,) float64: its question's values (features, asks), or the defaults."""
    found = np.append(values, np.full((len(values), 1), np.nan), axis=1)[:, numbers]  # -1 is the column of NaN
    filled = {}
    for name, default, row in zip(service.features, service.defaults, found, strict=True):
        filled[name] = row if default is None else np.where(np.isnan(row), default, row)
    return filled
