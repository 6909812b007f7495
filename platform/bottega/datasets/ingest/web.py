"""Polite HTTP: a name of our own, a pause between requests, retries that wait, and a deadline."""

import time
from collections.abc import Callable

import httpx
import tenacity

from bottega.errors import InvalidInput, Unavailable

AGENT = "bottega"
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again makes sense."""
LONGEST_PAUSE_S = 60.0


class _Again(Exception):
    """An answer that asks for another attempt, after `wait_s` where it says so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class Web:
    """GETs with retries; between two requests at least `pause_s` pass. `sleep` is the clock's, or a test's."""

    def __init__(
        self,
        pause_s: float = 0.0,
        timeout_s: float = 10.0,
        deadline_s: float = 60.0,
        attempts: int = 6,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause_s, self._deadline_s, self._attempts, self._sleep = pause_s, deadline_s, attempts, sleep
        self._client = httpx.Client(
            timeout=timeout_s, follow_redirects=True, headers={"user-agent": AGENT}, trust_env=False
        )
        self._last: float | None = None

    def get(self, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """The answer, whatever its status, once it is none that asks for another attempt.

        Raises Unavailable where the deadline passes first, InvalidInput for an address that is none.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=tenacity.stop_after_attempt(self._attempts) | tenacity.stop_after_delay(self._deadline_s),
            wait=_wait,
            sleep=self._sleep,
        )
        try:
            return retrying(self._once, url, headers or {})
        except tenacity.RetryError as error:
            reason = error.last_attempt.exception()
            raise Unavailable(
                f"{url} did not answer properly: {reason}.", next_step="Try again later: what was read so far is kept."
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _once(self, url: str, headers: dict[str, str]) -> httpx.Response:
        if self._last is not None and self._pause_s:
            self._sleep(max(0.0, self._last + self._pause_s - time.monotonic()))
        try:
            answer = self._client.get(url, headers=headers)
        except httpx.TransportError as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        except httpx.InvalidURL as error:
            raise InvalidInput(f"{url!r} is no address: {error}.", next_step="Write http://host/path.") from error
        finally:
            self._last = time.monotonic()
        if answer.status_code in AGAIN:
            after = answer.headers.get("retry-after", "")
            raise _Again(f"status {answer.status_code}", float(after) if after.isdecimal() else None)
        return answer


def _wait(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else longer each time."""
    failed = state.outcome.exception() if state.outcome else None
    if isinstance(failed, _Again) and failed.wait_s is not None:
        return min(failed.wait_s, LONGEST_PAUSE_S)
    return tenacity.wait_exponential_jitter(multiplier=0.5, max=LONGEST_PAUSE_S)(state)
