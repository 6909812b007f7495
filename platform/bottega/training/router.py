"""A router as a use case declares it; `bottega.training.edge_times` says how it learns."""

from dataclasses import dataclass
from typing import Final

MINUTES: Final = "minutes"
KM: Final = "km"
HOPS: Final = "hops"
LOG_HOUR: Final = "log_hour"


@dataclass(frozen=True)
class Router:
    """How trips are routed: by which keys, between the places of which view, over which source of
    neighbours, into which tables.

    `table` has `minutes`, `km` and `hops` by pair, NaN where a zone has no place; `hours` has `log_hour`, the logarithm
    of the factor of each hour of the week, which the column `hour` counts. `stiffness_km` and `stiffness` are the trips
    that the uniform pace counts for on a kilometre of edge and at an end; `robust_min` is where an error counts
    absolutely instead of squared.
    """

    table: str
    hours: str
    keys: tuple[str, str]
    hour: str
    places: str = "zones"
    neighbours: str = "neighbours"
    stiffness_km: float = 100.0
    stiffness: float = 2.0
    hour_smoothing: float = 20.0
    robust_min: float = 6.0
    rounds: int = 3
