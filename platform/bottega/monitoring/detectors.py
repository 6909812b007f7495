"""Change detectors on a stream of errors: frozen parameters, frozen states, one pure update.

A detector is fed one standardised error after the other, in the order in which the labels arrived. Its state is a small
frozen record, so it can be stored and continued at any point.
"""

from collections.abc import Iterable
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

Direction = Literal["above", "below"]
State = TypeVar("State")


class Crossing(msgspec.Struct, frozen=True):
    """The moment a detector's sum crosses its threshold.

    `index` is the position of the value that crossed, `start` of the first value of the rise: the estimated change
    point. "above" means that actual values are larger than predicted.
    """

    index: int
    start: int
    value: float
    threshold: float
    direction: Direction


class Detector(Protocol, Generic[State]):
    """What every detector offers."""

    def start(self) -> State:
        """The state before the first value."""
        ...

    def update(self, state: State, value: float) -> State:
        """The state after `value`."""
        ...

    def crossing(self, state: State) -> Crossing | None:
        """The alarm that the state amounts to, or None."""
        ...


def scan(detector: Detector[State], values: Iterable[float], state: State | None = None) -> Crossing | None:
    """The first crossing in `values`, or None.

    >>> scan(Cusum(slack=0.5, threshold=4.0), [0.1, -0.2, 2.0, 2.0, 2.0, 2.0])
    Crossing(index=4, start=2, value=4.5, threshold=4.0, direction='above')
    """
    current = detector.start() if state is None else state
    for value in values:
        current = detector.update(current, value)
        found = detector.crossing(current)
        if found is not None:
            return found
    return None


class Sums(msgspec.Struct, frozen=True):
    """Two one-sided sums, the index of the first value of each one's rise, and how many values were seen."""

    seen: int = 0
    above: float = 0.0
    below: float = 0.0
    above_start: int = 0
    below_start: int = 0
    mean: float = 0.0
    """Mean of the stream so far; only Page-Hinkley uses it."""


class Cusum(msgspec.Struct, frozen=True):
    """Two-sided cumulative sum: s = max(0, s + (+-value - slack)), alarm where s > threshold.

    Values, slack and threshold are in standard deviations of the reference. A shift smaller than the slack never adds
    up, a shift of `d` takes about threshold / (d - slack) values.

    Source: E. S. Page, Continuous inspection schemes, Biometrika 41 (1954), 100-115; the start of the rise as estimate
    of the change point: same, and D. M. Hawkins, D. H. Olwell, Cumulative Sum Charts (1998), section 1.9.
    """

    slack: float
    threshold: float

    def start(self) -> Sums:
        """The state before the first value."""
        return Sums()

    def update(self, state: Sums, value: float) -> Sums:
        """The state after `value`."""
        return _add(state, value, -value, self.slack, state.mean)

    def crossing(self, state: Sums) -> Crossing | None:
        """The alarm that the state amounts to, or None."""
        return _crossing(state, self.threshold)


class PageHinkley(msgspec.Struct, frozen=True):
    """The same sums around the stream's own running mean, which starts at 0 with the weight of `memory` values.

    A level that stays is slowly taken for normal, so this one asks "did it change?" where CUSUM asks "is it off?".

    Source: D. V. Hinkley, Inference about the change-point from cumulative sum tests, Biometrika 58 (1971), 509-523.
    """

    slack: float
    threshold: float
    memory: float = 168.0

    def start(self) -> Sums:
        """The state before the first value."""
        return Sums()

    def update(self, state: Sums, value: float) -> Sums:
        """The state after `value`."""
        mean = state.mean + (value - state.mean) / (self.memory + state.seen + 1)
        return _add(state, value - mean, mean - value, self.slack, mean)

    def crossing(self, state: Sums) -> Crossing | None:
        """The alarm that the state amounts to, or None."""
        return _crossing(state, self.threshold)


class Level(msgspec.Struct, frozen=True):
    """The plain rule: one value further from 0 than `threshold`. For daily medians, in log units."""

    threshold: float

    def start(self) -> Sums:
        """The state before the first value."""
        return Sums()

    def update(self, state: Sums, value: float) -> Sums:
        """The state after `value`."""
        return Sums(state.seen + 1, max(0.0, value), max(0.0, -value), state.seen, state.seen)

    def crossing(self, state: Sums) -> Crossing | None:
        """The alarm that the state amounts to, or None."""
        return _crossing(state, self.threshold)


def _add(state: Sums, above: float, below: float, slack: float, mean: float) -> Sums:
    high, low = max(0.0, state.above + above - slack), max(0.0, state.below + below - slack)
    return Sums(
        seen=state.seen + 1,
        above=high,
        below=low,
        above_start=state.above_start if state.above > 0 else state.seen,
        below_start=state.below_start if state.below > 0 else state.seen,
        mean=mean,
    )


def _crossing(state: Sums, threshold: float) -> Crossing | None:
    value = max(state.above, state.below)
    if value <= threshold:
        return None
    direction: Direction = "above" if state.above >= state.below else "below"
    start = state.above_start if direction == "above" else state.below_start
    return Crossing(state.seen - 1, start, value, threshold, direction)
