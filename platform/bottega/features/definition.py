"""What a view computes, as plain data: enough to read its features without the code that declared it."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from bottega.features.windows import Feature

StateKind = Literal["rows", "n", "sum", "min", "max", "squares_high", "squares_low", "last_at", "last", "distinct"]
ADDITIVE: frozenset[str] = frozenset({"rows", "n", "sum", "squares_high", "squares_low"})
INT64_MAX = int(np.iinfo(np.int64).max)
NEUTRAL: dict[str, int] = {"min": INT64_MAX, "max": -INT64_MAX, "last_at": -INT64_MAX, "last": -INT64_MAX}
"""The value of each state of a tile without events, where it is not 0."""
SQUARE_BITS = 32
"""A square is kept as two whole numbers: squares_high * 2**32 + squares_low."""
REFUSED = -1
"""What stands for a distinct count above its cap."""


class Input(msgspec.Struct, frozen=True):
    """What states aggregate: a column in fixed point, of the events that fulfil a condition.

    Without a column it is the events themselves.
    """

    column: str
    scale: int = 1
    where: str = ""


class State(msgspec.Struct, frozen=True):
    """One number that a tile keeps.

    `rows` counts all events; of an input, `n` counts the values that are not null, `sum`, `min` and `max` are theirs,
    `squares_high` and `squares_low` add up their squares' halves, `last` is the value of the latest event (of several
    at the same time, the greatest) and `last_at` its time, `distinct` counts different values up to `cap`.
    """

    kind: StateKind
    input: Input = Input("")
    cap: int = 0

    @property
    def adds(self) -> bool:
        """Whether two tiles' states combine by addition."""
        return self.kind in ADDITIVE

    @property
    def neutral(self) -> int:
        """The state of a tile without events."""
        return NEUTRAL.get(self.kind, 0)


_STATES_OF: dict[str, tuple[StateKind, ...]] = {
    "count": ("n",),
    "sum": ("sum",),
    "mean": ("n", "sum"),
    "min": ("n", "min"),
    "max": ("n", "max"),
    "last": ("n", "last_at", "last"),
    "stddev": ("n", "sum", "squares_high", "squares_low"),
    "distinct": ("distinct",),
}
_MAIN: dict[str, StateKind] = {"count": "n", "mean": "sum", "stddev": "sum"}
"""The state that a feature's value is made of, where it has not the aggregate's own name."""


class Definition(msgspec.Struct, frozen=True):
    """A windowed view as data. Times in seconds; a `ttl_s` of 0 means no expiry, a `freshness_s` of 0 no promise."""

    view: str
    keys: tuple[str, ...]
    key_dtype: str
    tile_s: int
    features: tuple[Feature, ...]
    ttl_s: int = 0
    lateness_s: int = 0
    freshness_s: int = 0
    version: int = 2

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the features aggregate, each once."""
        return tuple(dict.fromkeys(i for i in map(input_of, self.features) if i != Input("")))

    @property
    def states(self) -> tuple[State, ...]:
        """The numbers that each tile keeps, the number of rows first."""
        states = [State("rows")]
        for feature in self.features:
            states += [_state(kind, feature) for kind in _STATES_OF[feature.aggregate]]
        return tuple(dict.fromkeys(states))

    def fits(self, other: "Definition") -> bool:
        """Whether tiles of `other` can be read as tiles of this definition: only windows may differ."""
        return (len(self.keys), self.key_dtype, self.tile_s, self.lateness_s, self.states) == (
            len(other.keys),
            other.key_dtype,
            other.tile_s,
            other.lateness_s,
            other.states,
        )


def input_of(feature: Feature) -> Input:
    """What a feature aggregates."""
    return Input(feature.column, feature.scale if feature.column else 1, feature.where)


def _state(kind: StateKind, feature: Feature) -> State:
    found = input_of(feature)
    if kind == "n" and found == Input(""):
        return State("rows")
    return State(kind, found, feature.cap if kind == "distinct" else 0)


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions that turn window totals of a definition's states into its features' values.

    `windows` (W,) are the distinct window lengths in tiles, longest first. `numerator` and `counted` (F,) index states,
    `window` (F,) windows; `per_count`, `if_any`, `always` (F, 1) say what divides the numerator beside `scale` (F, 1).
    `squares` (F,) indexes the squares' high half of a standard deviation, -1 for other features; the low half follows
    it. `default` (F, 1) stands in for null.
    """

    tile_us: int
    states: tuple[State, ...]
    windows: np.ndarray
    numerator: np.ndarray
    counted: np.ndarray
    window: np.ndarray
    squares: np.ndarray
    per_count: np.ndarray
    if_any: np.ndarray
    always: np.ndarray
    scale: np.ndarray
    default: np.ndarray
    ttl: int
    """Index in `windows` of the time to live, or -1."""
    unsettled: int
    """How many of the newest closed tiles may have events that are not known yet: those within the lateness."""

    @functools.cached_property
    def longest(self) -> int:
        """The longest window in tiles."""
        return int(self.windows[0])

    @functools.cached_property
    def needed(self) -> frozenset[tuple[int, int]]:
        """The (state, window) pairs that some value is made of."""
        pairs = {(0, self.ttl)} if self.ttl >= 0 else set()
        columns = zip(
            self.numerator.tolist(), self.counted.tolist(), self.squares.tolist(), self.window.tolist(), strict=True
        )
        for numerator, counted, squares, window in columns:
            states = {numerator, counted, *((squares, squares + 1) if squares >= 0 else ())}
            pairs |= {(state, window) for state in states}
        return frozenset(pairs)

    @functools.cached_property
    def room(self) -> int:
        """Places for all features and one more."""
        return len(self.numerator) + 1

    @functools.cached_property
    def neutral(self) -> np.ndarray:
        """The state of a tile without events: (states,) int64."""
        return np.array([state.neutral for state in self.states], np.int64)

    def values(self, totals: np.ndarray) -> np.ndarray:
        """Window totals (states, W, batch) int64 to feature values (F, batch) float64, NaN where there is none.

        All but the last division (and a standard deviation's square root) is in whole numbers, so equal totals give
        equal values.
        """
        n = totals[self.counted, self.window]  # (F, batch) int64
        divisor = self.scale * (self.per_count * n + self.if_any * (n > 0) + self.always)
        numerator = totals[self.numerator, self.window]
        refused = [i for i, state in enumerate(self.states) if state.kind == "distinct"]
        if refused:
            divisor = divisor * ~(np.isin(self.numerator, refused)[:, None] & (numerator == REFUSED))
        if self.ttl >= 0:
            divisor = divisor * (totals[0, self.ttl] > 0)
        found = np.full(divisor.shape, np.nan)
        np.divide(numerator, divisor, out=found, where=divisor > 0)
        for i in np.flatnonzero(self.squares >= 0).tolist():
            high, low = totals[self.squares[i] : self.squares[i] + 2, self.window[i]]
            some = divisor[i] > 0
            spread = deviations(n[i, some], numerator[i, some], high[some], low[some])
            found[i, some] = spread / float(self.scale[i, 0])
        return np.where(np.isnan(found), self.default, found)


def deviation(n: int, total: int, square: int) -> float:
    """The standard deviation of n whole numbers by their sum and their squares' sum: exact up to one division and root.

    >>> deviation(2, 4, 10)
    1.0
    """
    return math.sqrt(float(n * square - total * total) / float(n * n))


def deviations(n: np.ndarray, total: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """`deviation` of many, (batch,) int64 each, the squares' sums in two halves: at once where 64 bits suffice."""
    found = np.empty(len(n))
    small = (n < 2**31) & (np.abs(total) < 2**31) & (high < 2**30) & (low < 2**62)
    square = np.where(small, (high << SQUARE_BITS) + low, 0)
    small &= square < INT64_MAX // np.maximum(n, 1)
    m, t = n[small], total[small]
    found[small] = np.sqrt((m * square[small] - t * t).astype(np.float64) / (m * m).astype(np.float64))
    for row in np.flatnonzero(~small).tolist():
        exact = (int(high[row]) << SQUARE_BITS) + int(low[row])
        found[row] = deviation(int(n[row]), int(total[row]), exact)
    return found


@functools.lru_cache(maxsize=256)
def layout_of(definition: Definition) -> Layout:
    """The layout of a definition; cached, since every read needs it."""
    states = definition.states
    at = {state: i for i, state in enumerate(states)}
    lengths = {feature.window_s for feature in definition.features} | ({definition.ttl_s} - {0})
    windows = np.array(sorted(lengths, reverse=True), np.int64) // definition.tile_s
    position = {int(window): i for i, window in enumerate(windows)}
    kinds = np.array([feature.aggregate for feature in definition.features])
    numerator = [at[_state(_MAIN.get(f.aggregate, f.aggregate), f)] for f in definition.features]  # type: ignore[arg-type]
    counted = [at.get(_state("n", f), 0) for f in definition.features]
    window = [position[f.window_s // definition.tile_s] for f in definition.features]
    squares = [at[_state("squares_high", f)] if f.aggregate == "stddev" else -1 for f in definition.features]
    per_count = (kinds == "mean") | (kinds == "stddev")
    if_any = (kinds == "min") | (kinds == "max") | (kinds == "last")
    return Layout(
        definition.tile_s * 1_000_000,
        states,
        windows,
        np.array(numerator),
        np.array(counted),
        np.array(window),
        np.array(squares),
        per_count[:, None].astype(np.int64),
        if_any[:, None].astype(np.int64),
        (~per_count & ~if_any)[:, None].astype(np.int64),
        np.array([[input_of(f).scale] for f in definition.features], np.int64),
        np.array([[np.nan if f.default is None else f.default] for f in definition.features]),
        position[definition.ttl_s // definition.tile_s] if definition.ttl_s else -1,
        -(-definition.lateness_s // definition.tile_s),
    )
