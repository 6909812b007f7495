"""Windowed aggregations: `mean("speed_kmh").over("15m", "1h")` declares one feature for each window.

Values are added up as whole numbers: a column is multiplied by `scale` and rounded (scale 1000 keeps thousandths). A
sum then does not depend on the order of its terms, so two engines can be held to equality.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from bottega.errors import InvalidInput
from bottega.features.checks import check_name
from bottega.times import parse_duration_s

Aggregate = Literal["count", "sum", "mean", "min", "max"]
AGGREGATES: tuple[str, ...] = get_args(Aggregate)


class Feature(msgspec.Struct, frozen=True):
    """One windowed feature, as data: what is aggregated, over how many seconds, under which name."""

    name: str
    aggregate: Aggregate
    column: str
    window_s: int
    scale: int = 1
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class Aggregation:
    """An aggregation of a source's column that still needs its windows."""

    aggregate: Aggregate
    column: str = ""
    scale: int = 1000
    unit: str = ""
    description: str = ""

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

    def __str__(self) -> str:
        return "count()" if self.aggregate == "count" else f'{self.aggregate}("{self.column}")'

    def over(self, *windows: str) -> tuple[Feature, ...]:
        """One feature a window, named `<column>_<aggregate>_<window>` or `count_<window>`.

        >>> [feature.name for feature in mean("speed_kmh").over("15m", "1h")]
        ['speed_kmh_mean_15m', 'speed_kmh_mean_1h']
        """
        if not windows:
            raise InvalidInput(f"{self}.over() names no window.", next_step='Name one or more, such as "15m", "1h".')
        stem = "count" if self.aggregate == "count" else f"{self.column}_{self.aggregate}"
        return tuple(
            Feature(
                f"{stem}_{window}",
                self.aggregate,
                self.column,
                parse_duration_s(window),
                self.scale,
                self.unit,
                self.description,
            )
            for window in windows
        )


def count(*, unit: str = "events", description: str = "") -> Aggregation:
    """The number of events; 0 in an empty window."""
    return Aggregation("count", "", 1, unit, description)


def sum(column: str, *, scale: int = 1000, unit: str = "", description: str = "") -> Aggregation:
    """The sum of a column; 0 in an empty window."""
    return Aggregation("sum", column, scale, unit, description)


def mean(column: str, *, scale: int = 1000, unit: str = "", description: str = "") -> Aggregation:
    """The mean of a column's values that are not null; null in an empty window."""
    return Aggregation("mean", column, scale, unit, description)


def min(column: str, *, scale: int = 1000, unit: str = "", description: str = "") -> Aggregation:
    """The least value of a column; null in an empty window."""
    return Aggregation("min", column, scale, unit, description)


def max(column: str, *, scale: int = 1000, unit: str = "", description: str = "") -> Aggregation:
    """The greatest value of a column; null in an empty window."""
    return Aggregation("max", column, scale, unit, description)
