"""Comparison: what each policy does in each market, on seeds that it was not tuned on."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.market.city import City
from bottega.market.conditions import Conditions
from bottega.market.indicators import Indicators, measure
from bottega.market.policies import Policy
from bottega.market.simulation import Days, simulate
from bottega.market.tuning import SCARCE
from bottega.progress import Progress, silent


class Result(msgspec.Struct, frozen=True):
    """One policy in one market; changes are shares of what the first policy gave on the same days.

    `trips_change_low` and `_high` bound its mean over days with 95 %, from the days' differences.
    """

    market: str
    policy: str
    indicators: Indicators
    trips_change: float
    trips_change_low: float
    trips_change_high: float
    surplus_change: float
    wait_change_min: float
    worst_district_change: float


def markets(base: Conditions | None = None) -> dict[str, Conditions]:
    """The markets to judge in: ordinary, with few drivers, each with drivers who do not respond, an emergency."""
    ordinary = base or Conditions()
    few = msgspec.structs.replace(ordinary, drivers=ordinary.drivers * SCARCE)
    return {
        "ordinary": ordinary,
        "few drivers": few,
        "ordinary, drivers do not respond": msgspec.structs.replace(ordinary, elasticity=0.0),
        "few drivers, drivers do not respond": msgspec.structs.replace(few, elasticity=0.0),
        "emergency in the evening": msgspec.structs.replace(ordinary, emergency=(204, 252)),
    }


def compare(
    city: City,
    policies: Sequence[Policy],
    seeds: Sequence[int],
    conditions: Mapping[str, Conditions] | None = None,
    progress: Progress = silent,
) -> tuple[Result, ...]:
    """Each policy in each market, beside the first policy. Raises InvalidInput for fewer than two seeds."""
    if len(seeds) < 2:
        raise InvalidInput(f"There are {len(seeds)} seeds; an interval over days needs two or more.")
    judged = conditions or markets()
    results = []
    for done, (market, condition) in enumerate(judged.items()):
        progress("compare policies", done, len(judged))
        days = [simulate(city, policy, seeds, condition) for policy in policies]
        results += [_result(market, policy.name, mine, days[0]) for policy, mine in zip(policies, days, strict=True)]
    progress("compare policies", len(judged), len(judged))
    return tuple(results)


def _result(market: str, policy: str, mine: Days, base: Days) -> Result:
    own, other = measure(mine), measure(base)
    trips = [days.completed.sum(axis=(0, 2)) for days in (mine, base)]  # (worlds,) each
    change = (trips[0] - trips[1]) / trips[1].mean()
    error = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change))
    return Result(
        market=market,
        policy=policy,
        indicators=own,
        trips_change=float(change.mean()),
        trips_change_low=float(change.mean() - error),
        trips_change_high=float(change.mean() + error),
        surplus_change=own.consumer_surplus_usd / other.consumer_surplus_usd - 1,
        wait_change_min=own.wait_min - other.wait_min,
        worst_district_change=own.worst_district_share - other.worst_district_share,
    )
