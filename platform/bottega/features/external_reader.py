"""External features on the request path: cached, within a budget, and never the end of a prediction."""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.service import MOST_ROWS, Ask, Failed, ask, find_address, number_asks, with_defaults
from bottega.features.steps import Service

MOST_CACHED = 100_000
"""Answers that a service's cache holds; the longest unused goes first."""
MOST_CALLS = 16
"""Calls under way at once, to all services."""
FAILURES = 5
REST_S = 1.0
"""After so many failures in a row a service is left alone for so long."""
PATIENCE = 4
"""A call may go on for so many times what a request waits: what comes late serves the next request."""
_report = logging.getLogger("bottega.features")


@dataclass(eq=False)
class _Known:
    """What is known of one service: answers, questions under way, counts, and how it has failed of late."""

    answers: OrderedDict[Ask, tuple[float, ...]] = field(default_factory=OrderedDict)
    under_way: dict[Ask, Future[None]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    rests_until: float = 0.0


class ExternalReader:
    """A plan's `read_external`: features of keys at moments, from a cache and from services.

    A read waits for a service as long as its view allows, all its rows together, and then answers what is missing with
    the view's defaults. An answer that comes later still goes into the cache, and a question that is under way is not
    asked again. Reads are safe from any number of threads. `endpoints` are the addresses of named endpoints; `clock` is
    in seconds.
    """

    def __init__(
        self,
        endpoints: Mapping[str, str],
        most_cached: int = MOST_CACHED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import httpx  # here, so that a server without external features is spared it

        self._endpoints, self._most_cached, self._clock = endpoints, most_cached, clock
        self._client = httpx.Client(trust_env=False)
        self._calls = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="external")
        self._free = MOST_CALLS
        self._lock = threading.Lock()
        self._known: dict[Service, _Known] = {}

    def __call__(self, service: Service, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
        """The service's features, (batch,) float64 each, the defaults where there is no value."""
        asks, numbers = number_asks(service, keys, at_us)
        with self._lock:
            known = self._known.setdefault(service, _Known())
            answers = {one: known.answers[one] for one in asks if one in known.answers}
            for one in answers:
                known.answers.move_to_end(one)
            new = [one for one in asks if one not in answers]
            waiting = self._call(service, known, new)
        late = wait(waiting, timeout=service.timeout_s).not_done if waiting else ()
        with self._lock:
            for _ in late:
                self._note_failure(known, "late", f"View {service.view!r} waited {service.timeout_s:g} s in vain.")
            answers.update((one, known.answers[one]) for one in new if one in known.answers)
            known.counts.update(
                rows=len(numbers),
                invalid=int(np.count_nonzero(numbers < 0)),
                questions=len(asks),
                hits=len(asks) - len(new),
                unanswered=len(asks) - len(answers),
            )
        missing = (np.nan,) * len(service.features)
        values = np.array([answers.get(one, missing) for one in asks], np.float64).reshape(len(asks), len(missing)).T
        return with_defaults(service, values, numbers)

    def counts(self) -> dict[str, dict[str, int]]:
        """What happened so far, by view.

        `rows` that were read, `invalid` ones that ask nothing; different `questions`, `hits` in the cache, those
        `unanswered` (the defaults stood in), those not asked because the service was `resting` or all threads `busy`;
        `calls`, those that a read did not wait for (`late`), and failed ones by reason.
        """
        with self._lock:
            found: dict[str, Counter[str]] = {}
            for service, known in self._known.items():
                found.setdefault(service.view, Counter()).update(known.counts)
            return {view: dict(counts) for view, counts in found.items()}

    def close(self) -> None:
        """Wait for the calls under way, and give the connections back."""
        self._calls.shutdown(cancel_futures=True)
        self._client.close()

    def _call(self, service: Service, known: _Known, new: Sequence[Ask]) -> set[Future[None]]:
        """Start the calls that new questions need; what to wait for."""
        fresh = [one for one in new if one not in known.under_way]
        waiting = {known.under_way[one] for one in new if one in known.under_way}
        for chunk in _chunks(fresh):
            if self._clock() < known.rests_until:
                known.counts["resting"] += len(chunk)
            elif not self._free:
                known.counts["busy"] += len(chunk)
            else:
                self._free -= 1
                known.counts["calls"] += 1
                future = self._calls.submit(self._answer, service, known, chunk)
                known.under_way |= dict.fromkeys(chunk, future)
                waiting.add(future)
        return waiting

    def _answer(self, service: Service, known: _Known, asks: Sequence[Ask]) -> None:
        """One call, in a thread of its own: its answers go into the cache, its failure into the counts."""
        values, reason, failure = None, "", ""
        try:
            address = find_address(service.endpoint, self._endpoints)
            values = ask(self._client, address, service, asks, PATIENCE * service.timeout_s)
        except Failed as error:
            reason, failure = error.reason, str(error)
        except InvalidInput as error:
            reason, failure = "address", str(error)
        except Exception as error:  # noqa: BLE001  whatever is wrong with a service, predictions go on
            reason, failure = "error", repr(error)
        with self._lock:
            self._free += 1
            for one in asks:
                known.under_way.pop(one, None)
            if values is None:
                self._note_failure(known, reason, failure)
                return
            known.failures = 0
            known.answers.update(zip(asks, map(tuple, values.T.tolist()), strict=True))
            while len(known.answers) > self._most_cached:
                known.answers.popitem(last=False)

    def _note_failure(self, known: _Known, reason: str, failure: str) -> None:
        known.failures += 1
        known.counts[reason] += 1
        if known.failures == 1:
            _report.warning("%s Predictions go on with the defaults.", failure)
        if known.failures >= FAILURES:
            known.rests_until = self._clock() + REST_S


def _chunks(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    for first in range(0, len(asks), MOST_ROWS):
        yield asks[first : first + MOST_ROWS]
