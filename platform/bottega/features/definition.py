"""What a view computes, as plain data: enough to read its features without the code that declared it."""

import functools
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from bottega.features.windows import Feature

StateKind = Literal["rows", "n", "sum", "min", "max"]
INT64_MAX = np.iinfo(np.int64).max
NEUTRAL: dict[str, int] = {"rows": 0, "n": 0, "sum": 0, "min": int(INT64_MAX), "max": -int(INT64_MAX)}
"""The value of each state of a tile without events."""


class State(msgspec.Struct, frozen=True):
    """One number that a tile keeps: `rows` of the tile, or `n` (not null), `sum`, `min` or `max` of a column."""

    kind: StateKind
    column: str = ""
    scale: int = 1


_STATES_OF: dict[str, tuple[StateKind, ...]] = {
    "count": (),
    "sum": ("sum",),
    "mean": ("n", "sum"),
    "min": ("n", "min"),
    "max": ("n", "max"),
}


class Definition(msgspec.Struct, frozen=True):
    """A windowed view as data. Times in seconds; `ttl_s` 0 means that values do not expire."""

    view: str
    keys: tuple[str, ...]
    key_dtype: str
    tile_s: int
    features: tuple[Feature, ...]
    ttl_s: int = 0
    version: int = 1

    @property
    def states(self) -> tuple[State, ...]:
        """The numbers that each tile keeps, the number of rows first."""
        states = [State("rows")]
        for feature in self.features:
            states += [State(kind, feature.column, feature.scale) for kind in _STATES_OF[feature.aggregate]]
        return tuple(dict.fromkeys(states))

    def fits(self, other: "Definition") -> bool:
        """Whether tiles of `other` can be read as tiles of this definition: only windows may differ."""
        return (len(self.keys), self.key_dtype, self.tile_s, self.states) == (
            len(other.keys),
            other.key_dtype,
            other.tile_s,
            other.states,
        )


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions that turn window totals of a definition's states into its features' values.

    `windows` (W,) are the distinct window lengths in tiles, longest first. `numerator` and `counted` (F,) index states,
    `window` (F,) windows; `per_count`, `if_any`, `always` (F, 1) say what divides the numerator beside `scale` (F, 1).
    """

    tile_us: int
    states: tuple[State, ...]
    windows: np.ndarray
    numerator: np.ndarray
    counted: np.ndarray
    window: np.ndarray
    per_count: np.ndarray
    if_any: np.ndarray
    always: np.ndarray
    scale: np.ndarray
    ttl: int
    """Index in `windows` of the time to live, or -1."""

    @functools.cached_property
    def all_add(self) -> bool:
        """Whether every state is a count or a sum."""
        return all(state.kind in ("rows", "n", "sum") for state in self.states)

    @functools.cached_property
    def reach(self) -> np.ndarray:
        """How many tiles before the last closed one each window's predecessor lies, then 0: (W + 1,) int64."""
        return np.append(self.windows, 0)

    @functools.cached_property
    def neutral(self) -> np.ndarray:
        """The state of a tile without events: (states,) int64."""
        return np.array([NEUTRAL[state.kind] for state in self.states], np.int64)

    def values(self, totals: np.ndarray) -> np.ndarray:
        """Window totals (states, W, batch) int64 to feature values (F, batch) float64, NaN where there is none.

        The only step in floating point: one division of two whole numbers, so equal totals give equal values.
        """
        n = totals[self.counted, self.window]  # (F, batch) int64
        divisor = self.scale * (self.per_count * n + self.if_any * (n > 0) + self.always)
        if self.ttl >= 0:
            divisor = divisor * (totals[0, self.ttl] > 0)
        found = np.full(divisor.shape, np.nan)
        return np.divide(totals[self.numerator, self.window], divisor, out=found, where=divisor > 0)


@functools.lru_cache(maxsize=256)
def layout_of(definition: Definition) -> Layout:
    """The layout of a definition; cached, since every read needs it."""
    states = definition.states
    at = {(state.kind, state.column): i for i, state in enumerate(states)}
    lengths = {feature.window_s for feature in definition.features} | ({definition.ttl_s} - {0})
    windows = np.array(sorted(lengths, reverse=True), np.int64) // definition.tile_s
    position = {int(window): i for i, window in enumerate(windows)}
    kinds = np.array([feature.aggregate for feature in definition.features])
    numerator = [at[_main(f), f.column] for f in definition.features]
    counted = [at.get(("n", f.column), 0) for f in definition.features]
    window = [position[f.window_s // definition.tile_s] for f in definition.features]
    per_count, if_any = kinds == "mean", (kinds == "min") | (kinds == "max")
    return Layout(
        definition.tile_s * 1_000_000,
        states,
        windows,
        np.array(numerator),
        np.array(counted),
        np.array(window),
        per_count[:, None].astype(np.int64),
        if_any[:, None].astype(np.int64),
        (~per_count & ~if_any)[:, None].astype(np.int64),
        np.array([[1 if f.aggregate == "count" else f.scale] for f in definition.features], np.int64),
        position[definition.ttl_s // definition.tile_s] if definition.ttl_s else -1,
    )


def _main(feature: Feature) -> StateKind:
    match feature.aggregate:
        case "count":
            return "rows"
        case "mean":
            return "sum"
        case kind:
            return kind
