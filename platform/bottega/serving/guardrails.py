"""Guardrails: may the canary go on? Four tests that look after every one of its requests.

The champion is asked the same as the canary, so each request is a pair, and it does not matter that some requests are
harder, longer or from other customers than others. All tests bet (see `betting`), so their levels hold whenever one
looks; `ALPHA` adds up to less than 1 in 100 false alarms in the whole life of a canary that is no worse.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bottega.serving.betting import Betting

ALPHA = {"errors": 0.004, "latency": 0.0015, "tail": 0.0015, "shift": 0.0015}
REASONS = {
    "errors": "it fails more often than the champion",
    "latency": "it is slower than the champion by more than the limit",
    "tail": "its slow requests are more than the champion's by more than the limit",
    "shift": "its answers moved from the champion's by more than the limit",
}
_WARM = 20
"""Pairs before a unit of the answers is known."""
_TAIL_WARM, _TAIL_KEPT = 200, 1000
_FAR = 4.0
"""Units from which on a difference counts no more than this."""


@dataclass(frozen=True)
class Limits:
    """How much worse than the champion a canary may be.

    `excess_errors`: share of requests that fail for the canary alone. `slower`: half of the requests may take more than
    this many times the champion's time. `tail_slower`, `excess_tail`: that share of requests may take over that many
    times the champion's 99th percentile. `shift`: difference of the mean answers, in standard deviations of the
    champion's answers (or quarters of their mean, where that is more).
    """

    excess_errors: float = 0.005
    slower: float = 2.5
    tail_slower: float = 3.0
    excess_tail: float = 0.01
    shift: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Pair:
    """One request, answered by both: whether each failed, the time that each ran, and means over the request's rows.

    Times are 0 where the canary did not run to its end; `answers` and `champion_answers` are empty where one failed.
    """

    failed: bool
    champion_failed: bool = False
    run_ns: int = 0
    champion_run_ns: int = 0
    answers: tuple[float, ...] = ()
    champion_answers: tuple[float, ...] = ()


class Guard:
    """The tests of one canary; `fields` are the answer's numeric ones."""

    def __init__(self, fields: Sequence[str], limits: Limits) -> None:
        self._limits = limits
        self._errors = Betting(limits.excess_errors, ALPHA["errors"], lowest=-1.0)
        self._latency = Betting(0.5, ALPHA["latency"])
        self._tail = _Tail(limits)
        self._shifts = {name: _Shift(limits.shift, ALPHA["shift"] / len(fields)) for name in fields}
        self.pairs = self.failed = self.champion_failed = 0

    def observe(self, pair: Pair) -> str:
        """Count one request; the guardrail that the canary has broken, empty while it may go on."""
        self.pairs += 1
        self.failed += pair.failed
        self.champion_failed += pair.champion_failed
        self._errors.observe(float(pair.failed) - float(pair.champion_failed))
        if pair.run_ns and pair.champion_run_ns:
            self._latency.observe(float(pair.run_ns > self._limits.slower * pair.champion_run_ns))
            self._tail.observe(pair.run_ns, pair.champion_run_ns)
        if pair.answers and pair.champion_answers:
            for shift, ours, champion in zip(self._shifts.values(), pair.answers, pair.champion_answers, strict=True):
                shift.observe(ours, champion)
        return self._broken()

    def _broken(self) -> str:
        if self._errors.refuted:
            return "errors"
        if self._latency.refuted:
            return "latency"
        if self._tail.test.refuted:
            return "tail"
        return "shift" if any(shift.refuted for shift in self._shifts.values()) else ""

    def evidence(self) -> dict[str, Any]:
        """The figures so far: counts, and for each test its mean, its bound and log(wealth) against the limit."""
        return {
            "requests": self.pairs,
            "failed": self.failed,
            "champion_failed": self.champion_failed,
            "errors": _figures(self._errors),
            "latency": {**_figures(self._latency), "times_slower": self._limits.slower},
            "tail": _figures(self._tail.test),
            "shift": {name: shift.figures() for name, shift in self._shifts.items()},
        }


class _Tail:
    """Times over a multiple of the champion's 99th percentile, the canary's less the champion's own."""

    def __init__(self, limits: Limits) -> None:
        self.test = Betting(limits.excess_tail, ALPHA["tail"], lowest=-1.0)
        self._times_slower = limits.tail_slower
        self._newest_ns: deque[int] = deque(maxlen=_TAIL_KEPT)
        self._seen = 0
        self._slow_ns = math.inf

    def observe(self, run_ns: int, champion_run_ns: int) -> None:
        if self._slow_ns < math.inf:
            self.test.observe(float(run_ns > self._slow_ns) - float(champion_run_ns > self._slow_ns))
        self._newest_ns.append(champion_run_ns)  # after the bet: what counts as slow is known before each request
        self._seen += 1
        if self._seen % _TAIL_WARM == 0:
            self._slow_ns = self._times_slower * sorted(self._newest_ns)[int(0.99 * len(self._newest_ns))]


class _Shift:
    """The difference of one field's answers in units of their spread so far, bet on in both directions."""

    def __init__(self, bound: float, alpha: float) -> None:
        self._up = Betting(bound / _FAR, alpha / 2, lowest=-1.0)
        self._down = Betting(bound / _FAR, alpha / 2, lowest=-1.0)
        self._count = 0
        self._mean = self._squares = 0.0  # Welford's sums over the champion's answers

    def observe(self, ours: float, champion: float) -> None:
        if self._count >= _WARM:
            unit = max(math.sqrt(self._squares / (self._count - 1)), abs(self._mean) / 4)
            apart = ours - champion
            x = max(-1.0, min(1.0, apart / (_FAR * unit) if unit > 0 else math.copysign(apart != 0, apart)))
            self._up.observe(x)
            self._down.observe(-x)
        self._count += 1
        before = champion - self._mean
        self._mean += before / self._count
        self._squares += before * (champion - self._mean)

    @property
    def refuted(self) -> bool:
        return self._up.refuted or self._down.refuted

    def figures(self) -> dict[str, float]:
        """Of the direction that the answers moved to, in units of the spread."""
        test = max(self._up, self._down, key=lambda test: test.log_wealth)
        sign = 1.0 if test is self._up else -1.0
        return {**_figures(test), "mean": _rounded(sign * _FAR * test.mean), "bound": _rounded(_FAR * test.bound)}


def _figures(test: Betting) -> dict[str, float]:
    return {
        "mean": _rounded(test.mean),
        "bound": test.bound,
        "log_wealth": _rounded(test.log_wealth),
        "limit": _rounded(-math.log(test.alpha)),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
