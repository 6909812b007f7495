"""Polite HTTP: a name of our own, a pause between requests, retries that wait, limits on time and size."""

import email.utils
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx
import tenacity

from bottega.errors import InvalidData, InvalidInput, Unavailable

ROBOT = "bottega"
"""The name that robots.txt may speak to."""
HOPS = 5
ATTEMPTS = 10


class Answer(NamedTuple):
    """An answer: where it came from in the end, its status, headers and content."""

    url: str
    status: int
    headers: httpx.Headers
    content: bytes


class _Again(Exception):
    """An answer that asks for another attempt, after `wait_s` where it says so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class Web:
    """GETs that are tried again on a broken connection, on 429 and on 5xx, each within `deadline_s` in all.

    Between two requests at least `pause_s` pass. An answer may have `most_bytes`. `sleep` is the clock's, or a test's.
    """

    def __init__(
        self,
        pause_s: float = 0.0,
        timeout_s: float = 10.0,
        deadline_s: float = 60.0,
        most_bytes: int = 64_000_000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.pause_s, self._deadline_s, self._most_bytes, self._sleep = pause_s, deadline_s, most_bytes, sleep
        self._client = httpx.Client(timeout=timeout_s, headers={"user-agent": f"{ROBOT}/{version('bottega')}"})
        self._last: float | None = None

    def get(
        self, url: str, headers: dict[str, str] | None = None, before: Callable[[str], None] = lambda url: None
    ) -> Answer:
        """The answer, whatever its status, once it asks for no other attempt; redirects are followed.

        `before` is called with each address that is about to be asked. Raises Unavailable where the deadline passes,
        InvalidInput for an address that is none, InvalidData for endless redirects and for too much content.
        """
        asked = url
        for _ in range(HOPS):
            before(asked)
            answer = self._get(asked, headers or {})
            if not (300 <= answer.status < 400 and "location" in answer.headers):
                return answer
            asked = join(asked, answer.headers["location"])
        raise InvalidData(f"{url} leads through more than {HOPS} redirects.", next_step="Check the address.")

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _get(self, url: str, headers: dict[str, str]) -> Answer:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=tenacity.stop_before_delay(self._deadline_s) | tenacity.stop_after_attempt(ATTEMPTS),
            wait=self._wait_s,
            sleep=self._sleep,
        )
        if self._last is not None and self.pause_s:
            self._sleep(max(0.0, self._last + self.pause_s - time.monotonic()))
        try:
            return retrying(self._once, url, headers, time.monotonic() + self._deadline_s)
        except tenacity.RetryError as error:
            last = error.last_attempt.exception()
            tried = error.last_attempt.attempt_number
            asks = f", and asks to wait {last.wait_s:g} s" if isinstance(last, _Again) and last.wait_s else ""
            raise Unavailable(
                f"{url} did not answer within {self._deadline_s:g} s (attempts: {tried}): {last}{asks}.",
                next_step="Try again later: what was read so far is kept.",
            ) from None

    def _once(self, url: str, headers: dict[str, str], until: float) -> Answer:
        try:
            with self._client.stream("GET", url, headers=headers) as answer:
                if answer.status_code == 429 or answer.status_code >= 500:
                    raise _Again(f"HTTP {answer.status_code}", _retry_after_s(answer.headers))
                return Answer(url, answer.status_code, answer.headers, self._content(url, answer, until))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidInput(f"{url!r} is no address: {error}", next_step="Write http://host/path.") from None
        except httpx.TransportError as error:
            raise _Again(f"{type(error).__name__}: {error}".rstrip(": .")) from None
        except httpx.DecodingError as error:
            raise InvalidData(f"{url} cannot be unpacked: {error}.", next_step="Check the address.") from None
        finally:
            self._last = time.monotonic()

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        """What the server asked for, and at least the pause, and a backoff that grows, with some chance in it."""
        failed = state.outcome.exception() if state.outcome else None
        asked = failed.wait_s if isinstance(failed, _Again) else None
        backoff = tenacity.wait_exponential_jitter(multiplier=0.1, max=30, jitter=0.1)(state)
        return max(asked or 0.0, self.pause_s, backoff)

    def _content(self, url: str, answer: httpx.Response, until: float) -> bytes:
        """The body, which may neither trickle beyond the deadline nor grow without end."""
        content = bytearray()
        for block in answer.iter_bytes(1 << 16):
            content += block
            if len(content) > self._most_bytes:
                raise InvalidData(f"{url} is larger than {self._most_bytes:,} bytes.", next_step="Ask for less.")
            if time.monotonic() > until:
                raise _Again(f"it was still sending after {self._deadline_s:g} s")
        return bytes(content)


def join(base: str, link: str) -> str:
    """The address that a link on a page means."""
    try:
        return urljoin(base, link)
    except ValueError as error:
        raise InvalidData(f"{base} links to {link!r}: {error}.", next_step="Check the address.") from None


def check_url(key: str, url: str) -> None:
    """Raise InvalidInput where `url` is no address of the web."""
    try:
        parsed = httpx.URL(url)
        sound = parsed.scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except (httpx.InvalidURL, ValueError):
        sound = False
    if not sound:
        raise InvalidInput(f"{key}: {url!r} is no address.", next_step="Write http://host/path.")


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait, as a number or as a date."""
    said = headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        moment = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
