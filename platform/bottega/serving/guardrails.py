"""Guardrails: may the canary go on? Four tests that look after every one of its requests.

The champion is asked the same as the canary, so each request is a pair, and it does not matter that some requests are
harder, longer or from other customers than others. All tests bet (see `betting`), so their levels hold whenever one
looks; `ALPHA` adds up to less than 1 in 100 false alarms in the whole life of a canary that is no worse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bottega.errors import InvalidInput
from bottega.serving.betting import Betting

ALPHA = {"errors": 0.004, "latency": 0.0015, "tail": 0.0015, "shift": 0.0015}
REASONS = {
    "errors": "it fails more often than the champion",
    "latency": "it is slower than the champion by more than the limit",
    "tail": "more of its requests are slow than the limit allows",
    "shift": "its answers moved from the champion's by more than the limit",
}
_WARM = 20
"""Pairs before a unit of the answers is known."""
_TAIL_WARM, _TAIL_KEPT = 200, 1000
_FAR = 4.0
"""Units from which on a difference counts no more than this."""


class Limits(msgspec.Struct, frozen=True):
    """How much worse than the champion a canary may be.

    `excess_errors`: share of requests that fail for the canary alone. `slower`: half of the requests may take more than
    this many times the champion's time. `tail_slower`, `excess_tail`: that share of requests may take over that many
    times the champion's 99th percentile; with `p99_ms`, that share may take over so many milliseconds, whatever the
    champion takes. `shift`: difference of the mean answers, in standard deviations of the champion's answers (or
    quarters of their mean, where that is more).
    """

    excess_errors: float = 0.005
    slower: float = 2.5
    tail_slower: float = 3.0
    excess_tail: float = 0.01
    shift: float = 0.5
    p99_ms: float | None = None

    def check(self) -> None:
        """Raise InvalidInput for a limit that no test can hold a canary to."""
        if not 0 <= self.excess_errors < 1:
            raise InvalidInput(f"The limit of errors is {self.excess_errors:g}; it is a share from 0 to below 1.")
        if self.p99_ms is not None and not 0 < self.p99_ms < math.inf:
            raise InvalidInput(f"The limit of the 99th percentile is {self.p99_ms:g} ms; it is over 0.")
        if not 0 < self.shift < _FAR:
            raise InvalidInput(
                f"The limit of the shift is {self.shift:g} standard deviations; it is over 0, below {_FAR:g}."
            )


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


class Guard(msgspec.Struct):
    """The tests of one canary, with all that they have seen: as data, so that a restart of the server loses nothing."""

    limits: Limits
    errors: Betting
    latency: Betting
    tail: "_Tail"
    shifts: dict[str, "_Shift"]
    pairs: int = 0
    failed: int = 0
    champion_failed: int = 0

    @classmethod
    def of(cls, fields: Sequence[str], limits: Limits = LIMITS) -> "Guard":
        """A new one; `fields` are the answer's numeric ones."""
        return cls(
            limits,
            Betting(limits.excess_errors, ALPHA["errors"], lowest=-1.0),
            Betting(0.5, ALPHA["latency"]),
            _Tail.of(limits),
            {name: _Shift.of(limits.shift, ALPHA["shift"] / len(fields)) for name in fields},
        )

    def observe(self, pair: Pair) -> str:
        """Count one request; the guardrail that the canary has broken, empty while it may go on."""
        self.pairs += 1
        self.failed += pair.failed
        self.champion_failed += pair.champion_failed
        self.errors.observe(float(pair.failed) - float(pair.champion_failed))
        if pair.run_ns and pair.champion_run_ns:
            self.latency.observe(float(pair.run_ns > self.limits.slower * pair.champion_run_ns))
            self.tail.observe(pair.run_ns, pair.champion_run_ns)
        if pair.answers and pair.champion_answers:
            for shift, ours, champion in zip(self.shifts.values(), pair.answers, pair.champion_answers, strict=True):
                shift.observe(ours, champion)
        return self.broken()

    def broken(self) -> str:
        """The guardrail that the canary has broken, empty where none."""
        if self.errors.refuted:
            return "errors"
        if self.latency.refuted:
            return "latency"
        if self.tail.test.refuted:
            return "tail"
        return "shift" if any(shift.refuted for shift in self.shifts.values()) else ""

    def evidence(self) -> dict[str, Any]:
        """The figures so far: counts, and for each test its mean, its bound and log(wealth) against the limit."""
        return {
            "requests": self.pairs,
            "failed": self.failed,
            "champion_failed": self.champion_failed,
            "errors": _figures(self.errors),
            "latency": {**_figures(self.latency), "times_slower": self.limits.slower},
            "tail": {**_figures(self.tail.test), **self.tail.slow()},
            "shift": {name: shift.figures() for name, shift in self.shifts.items()},
        }


class _Tail(msgspec.Struct):
    """Requests over a fixed time, or over a multiple of the champion's 99th percentile less the champion's own."""

    test: Betting
    times_slower: float
    fixed: bool
    slow_ns: float | None
    newest_ns: list[int] = []
    seen: int = 0

    @classmethod
    def of(cls, limits: Limits) -> "_Tail":
        test = Betting(limits.excess_tail, ALPHA["tail"], lowest=-1.0)  # above 0 alone, the bets would be too bold
        fixed_ns = None if limits.p99_ms is None else limits.p99_ms * 1e6
        return cls(test, limits.tail_slower, fixed_ns is not None, fixed_ns)

    def observe(self, run_ns: int, champion_run_ns: int) -> None:
        if self.slow_ns is not None:
            champion_slow = not self.fixed and champion_run_ns > self.slow_ns
            self.test.observe(float(run_ns > self.slow_ns) - float(champion_slow))
        if self.fixed:
            return
        self.newest_ns.append(champion_run_ns)  # after the bet: what counts as slow is known before each request
        self.seen += 1
        if self.seen % _TAIL_WARM == 0:
            del self.newest_ns[:-_TAIL_KEPT]
            self.slow_ns = self.times_slower * sorted(self.newest_ns)[int(0.99 * len(self.newest_ns))]

    def slow(self) -> dict[str, float]:
        """From which time on a request is slow; nothing while that is unknown."""
        return {} if self.slow_ns is None else {"slow_ms": _rounded(self.slow_ns * 1e-6)}


class _Shift(msgspec.Struct):
    """The difference of one field's answers in units of their spread so far, bet on in both directions."""

    up: Betting
    down: Betting
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Welford's sums over the champion's answers."""

    @classmethod
    def of(cls, bound: float, alpha: float) -> "_Shift":
        up, down = (Betting(bound / _FAR, alpha / 2, lowest=-1.0) for _ in range(2))
        return cls(up, down)

    def observe(self, ours: float, champion: float) -> None:
        if self.count >= _WARM:
            unit = max(math.sqrt(self.squares / (self.count - 1)), abs(self.mean) / 4)
            apart = ours - champion
            x = max(-1.0, min(1.0, apart / (_FAR * unit) if unit > 0 else math.copysign(apart != 0, apart)))
            self.up.observe(x)
            self.down.observe(-x)
        self.count += 1
        before = champion - self.mean
        self.mean += before / self.count
        self.squares += before * (champion - self.mean)

    @property
    def refuted(self) -> bool:
        return self.up.refuted or self.down.refuted

    def figures(self) -> dict[str, float]:
        """Of the direction that the answers moved to, in units of the spread."""
        test = max(self.up, self.down, key=lambda test: test.log_wealth)
        sign = 1.0 if test is self.up else -1.0
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
