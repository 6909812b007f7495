"""The step that turns a probability into a decision, or into a case for a person."""

from collections.abc import Iterable

import msgspec
import numpy as np

from bottega.features.steps import Columns, Parts, Step

ACCEPT, REJECT, REVIEW = "accept", "reject", "review"


class Limit(msgspec.Struct, frozen=True):
    """What a column must be for a decision without a person; `reason` is told where it is not."""

    column: str
    reason: str
    minimum: float | None = None
    maximum: float | None = None


class Decide(Step, frozen=True, tag="decide"):
    """`accept` from one probability on, `reject` below another; `review` between, or where a limit is broken.

    Without `accept_from` nothing is accepted, without `reject_below` nothing rejected. The reasons are text: which
    limits were broken, or `otherwise` where the probability alone does not decide.
    """

    input: str
    decision: str
    reasons: str
    otherwise: str
    accept_from: float | None = None
    reject_below: float | None = None
    limits: tuple[Limit, ...] = ()

    def reads(self) -> tuple[str, ...]:
        return (self.input, *(limit.column for limit in self.limits))

    def makes(self) -> tuple[str, ...]:
        return (self.decision, self.reasons)

    def run(self, ready: Columns, parts: Parts) -> None:
        rows = len(ready[self.input])
        found = [self._decide(float(ready[self.input][row]), self._broken(ready, row)) for row in range(rows)]
        for name, place in ((self.decision, 0), (self.reasons, 1)):
            ready[name] = np.array([one[place] for one in found], object)

    def _decide(self, probability: float, broken: list[str]) -> tuple[str, str]:
        if broken:
            return REVIEW, "; ".join(broken)
        if self.accept_from is not None and probability >= self.accept_from:
            return ACCEPT, f"{self.input} {probability:.3f}, accepted from {self.accept_from:.3f} on"
        if self.reject_below is not None and probability < self.reject_below:
            return REJECT, f"{self.input} {probability:.3f}, rejected below {self.reject_below:.3f}"
        return REVIEW, self.otherwise

    def _broken(self, ready: Columns, row: int) -> list[str]:
        return list(_reasons(self.limits, {limit.column: float(ready[limit.column][row]) for limit in self.limits}))


def _reasons(limits: Iterable[Limit], values: dict[str, float]) -> Iterable[str]:
    for limit in limits:
        value = values[limit.column]
        low = limit.minimum is not None and value < limit.minimum
        high = limit.maximum is not None and value > limit.maximum
        if low or high:
            bound = f"at least {limit.minimum:.3g}" if low else f"at most {limit.maximum:.3g}"
            yield f"{limit.reason} ({limit.column} {value:.3g}, it must be {bound})"
