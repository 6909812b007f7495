"""Indicators of a market: what a policy did for riders, for drivers, and for the districts that get least."""

import msgspec
import numpy as np

from bottega.market.simulation import Days


class Indicators(msgspec.Struct, frozen=True):
    """Means over days. Shares are of all requests; dollars and trips are a day's; waits are of completed trips."""

    days: int
    requests: float
    completed: float
    completed_share: float
    unmet_share: float
    priced_out_share: float
    wait_min: float
    earnings_usd_per_hour: float
    consumer_surplus_usd: float
    mean_multiplier: float
    surged_share: float
    """Of completed trips, by the ticks and districts in which the price was above 1.05."""
    volatility: float
    """Mean absolute change of a district's multiplier from one tick to the next."""
    gini_of_completion: float
    """0 where every district's requests are completed alike."""
    worst_district_share: float
    """Completed share in the district where it is least, over all days."""


def measure(days: Days) -> Indicators:
    """The indicators of simulated days."""
    requests, completed = days.requests.sum(), days.completed.sum()
    by_district = days.completed.sum(axis=(0, 1)) / np.maximum(days.requests.sum(axis=(0, 1)), 1)
    worlds = len(days.seeds)
    weight = days.completed / max(completed, 1)
    return Indicators(
        days=worlds,
        requests=float(requests / worlds),
        completed=float(completed / worlds),
        completed_share=float(completed / requests),
        unmet_share=float(days.unmet.sum() / requests),
        priced_out_share=float(days.priced_out.sum() / requests),
        wait_min=float(days.wait_min.sum() / max(completed, 1)),
        earnings_usd_per_hour=float(days.earnings_usd.sum() / (days.online.sum() / 12)),
        consumer_surplus_usd=float(days.surplus_usd.sum() / worlds),
        mean_multiplier=float((weight * days.multiplier).sum()),
        surged_share=float((weight * (days.multiplier > 1.05)).sum()),
        volatility=float(np.abs(np.diff(days.multiplier, axis=0)).mean()),
        gini_of_completion=gini(by_district),
        worst_district_share=float(by_district.min()),
    )


def gini(values: np.ndarray) -> float:
    """Gini's coefficient of non-negative values: 0 where all are equal.

    >>> gini(np.array([1.0, 1.0])), gini(np.array([0.0, 1.0]))
    (0.0, 0.5)
    """
    ordered = np.sort(values)
    ranks = np.arange(1, len(ordered) + 1)
    total = ordered.sum()
    return 0.0 if total == 0 else float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * total))
