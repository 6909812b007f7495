"""Windowed aggregations: `mean("speed_kmh").over("15m", "1h")` declares one feature for each window.

Values are added up as whole numbers: a column is multiplied by `scale` and rounded (scale 1000 keeps thousandths). A
sum then does not depend on the order of its terms, so two engines can be held to equality.
"""

import sys
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from bottega.errors import InvalidInput
from bottega.features.checks import check_duration, check_name
from bottega.features.conditions import parse_where

Aggregate = Literal["count", "sum", "mean", "min", "max", "last", "stddev", "distinct"]
AGGREGATES: tuple[str, ...] = get_args(Aggregate)
LARGEST_CAP = 10_000


class Feature(msgspec.Struct, frozen=True):
    """One windowed feature, as data: what is aggregated, over how many seconds, under which name.

    `where` is a condition on the events (bottega.features.conditions); `default` stands in for null; `cap` is the
    greatest distinct count that is told exactly (above it, the value is null).
    """

    name: str
    aggregate: Aggregate
    column: str
    window_s: int
    scale: int = 1
    unit: str = ""
    description: str = ""
    where: str = ""
    default: float | None = None
    cap: int = 0


@dataclass(frozen=True)
class Aggregation:
    """An aggregation of a source's column that still needs its windows."""

    aggregate: Aggregate
    column: str = ""
    scale: int = 1000
    unit: str = ""
    description: str = ""
    where: str = ""
    name: str = ""
    default: float | None = None
    cap: int = 0

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise InvalidInput(
                f"{self.aggregate!r} is no aggregation.", next_step=f"Aggregations are {', '.join(AGGREGATES)}."
            )
        if self.aggregate != "count":
            check_name(f"The column of {self.aggregate}:", self.column)
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or not 1 <= self.scale <= 10**9:
            raise InvalidInput(
                f"The scale of {self} is {self.scale!r}.",
                next_step="It is the number of fixed-point steps in one unit, 1 to 1000000000: 100 keeps cents.",
            )
        if not isinstance(self.where, str):
            raise InvalidInput(f"The condition of {self} is {self.where!r}.", next_step='Write it as text: "x > 1".')
        parse_where(self.where)
        if self.where and not self.name:
            raise InvalidInput(f"{self} has a condition and no name.", next_step='Name it: name="long_trips".')
        if self.name:
            check_name(f"The name of {self}:", self.name)
        if self.default is not None and not _is_finite(self.default):
            raise InvalidInput(
                f"The default of {self} is {self.default!r}.", next_step="It is a finite number, or None."
            )
        if self.aggregate == "distinct" and not (type(self.cap) is int and 1 <= self.cap <= LARGEST_CAP):
            raise InvalidInput(
                f"The cap of {self} is {self.cap!r}.",
                next_step=f"It is the greatest count that is told exactly, 1 to {LARGEST_CAP}.",
            )

    def __str__(self) -> str:
        return "count()" if self.aggregate == "count" else f'{self.aggregate}("{self.column}")'

    def over(self, *windows: str) -> tuple[Feature, ...]:
        """One feature a window, named `<column>_<aggregate>_<window>`, `count_<window>` or `<name>_<window>`.

        >>> [feature.name for feature in mean("speed_kmh").over("15m", "1h")]
        ['speed_kmh_mean_15m', 'speed_kmh_mean_1h']
        """
        if not windows:
            raise InvalidInput(f"{self}.over() names no window.", next_step='Name one or more, such as "15m", "1h".')
        stem = self.name or ("count" if self.aggregate == "count" else f"{self.column}_{self.aggregate}")
        return tuple(
            Feature(
                f"{stem}_{window}",
                self.aggregate,
                self.column,
                check_duration(f"The window of {self}:", window),
                self.scale,
                self.unit,
                self.description,
                self.where,
                self.default,
                self.cap,
            )
            for window in windows
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def count(*, where: str = "", name: str = "", unit: str = "events", description: str = "") -> Aggregation:
    """The number of events; 0 in an empty window."""
    return Aggregation("count", "", 1, unit, description, where, name)


def sum(
    column: str, *, scale: int = 1000, where: str = "", name: str = "", unit: str = "", description: str = ""
) -> Aggregation:
    """The sum of a column; 0 in an empty window."""
    return Aggregation("sum", column, scale, unit, description, where, name)


def mean(
    column: str,
    *,
    scale: int = 1000,
    where: str = "",
    name: str = "",
    unit: str = "",
    description: str = "",
    default: float | None = None,
) -> Aggregation:
    """The mean of a column's values that are not null; null, or the default, in an empty window."""
    return Aggregation("mean", column, scale, unit, description, where, name, default)


def min(
    column: str,
    *,
    scale: int = 1000,
    where: str = "",
    name: str = "",
    unit: str = "",
    description: str = "",
    default: float | None = None,
) -> Aggregation:
    """The least value of a column; null, or the default, in an empty window."""
    return Aggregation("min", column, scale, unit, description, where, name, default)


def max(
    column: str,
    *,
    scale: int = 1000,
    where: str = "",
    name: str = "",
    unit: str = "",
    description: str = "",
    default: float | None = None,
) -> Aggregation:
    """The greatest value of a column; null, or the default, in an empty window."""
    return Aggregation("max", column, scale, unit, description, where, name, default)


def last(
    column: str,
    *,
    scale: int = 1000,
    where: str = "",
    name: str = "",
    unit: str = "",
    description: str = "",
    default: float | None = None,
) -> Aggregation:
    """The value of the latest event by event time; of events at the same time, the greatest value."""
    return Aggregation("last", column, scale, unit, description, where, name, default)


def stddev(
    column: str,
    *,
    scale: int = 1000,
    where: str = "",
    name: str = "",
    unit: str = "",
    description: str = "",
    default: float | None = None,
) -> Aggregation:
    """The standard deviation of a column's values, as of a whole population: 0 for one event, null for none."""
    return Aggregation("stddev", column, scale, unit, description, where, name, default)


def distinct(
    column: str,
    *,
    cap: int,
    scale: int = 1,
    where: str = "",
    name: str = "",
    unit: str = "values",
    description: str = "",
) -> Aggregation:
    """How many different values a column has, exact up to `cap` and null above it; 0 in an empty window."""
    return Aggregation("distinct", column, scale, unit, description, where, name, None, cap)
