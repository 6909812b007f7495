"""Tuning: the settings of each kind of policy, chosen on some seeds so that they can be judged on others."""

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np

from bottega.market.city import City
from bottega.market.conditions import Conditions
from bottega.market.indicators import measure
from bottega.market.policies import Bounds, NoSurge, Optimiser, Policy, Rule
from bottega.market.riders import Riders
from bottega.market.simulation import simulate
from bottega.progress import Progress, silent

SCARCE = 0.7
"""The share of drivers that is left in the market that policies are tuned for, beside the ordinary one."""
SLOPES, TIGHTNESSES = (0.2, 0.4, 0.7, 1.0), (0.6, 0.8, 1.0, 1.2)
RESERVES = (1.0, 1.25, 1.5, 2.0)


class Trial(msgspec.Struct, frozen=True):
    """A policy's settings and what they did: gains over no surge, as shares, and the score they were chosen by.

    The least gains are those of the market in which they are smaller.
    """

    policy: str
    settings: dict[str, float]
    trips_gain_ordinary: float
    trips_gain_scarce: float
    least_surplus_gain: float
    least_worst_district_gain: float
    score: float


class Tuned(msgspec.Struct, frozen=True):
    """The best rule and the best optimiser, the seeds that they were chosen on, and every trial."""

    rule: dict[str, float]
    optimiser: dict[str, float]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]

    def policies(self, bounds: Bounds | None = None, riders: Riders | None = None) -> tuple[Policy, ...]:
        """No surge, and the two as tuned."""
        limits = bounds or Bounds()
        known = riders or Riders()
        return (
            NoSurge(),
            Rule(self.rule["slope"], self.rule["tightness"], limits),
            Optimiser(self.optimiser["reserve"], riders=known, bounds=limits),
        )


def grid(riders: Riders, bounds: Bounds) -> tuple[Rule | Optimiser, ...]:
    """The rules and optimisers to try."""
    rules = [Rule(slope, tight, bounds) for slope, tight in itertools.product(SLOPES, TIGHTNESSES)]
    return (*rules, *(Optimiser(reserve, riders=riders, bounds=bounds) for reserve in RESERVES))


def tune(
    city: City,
    seeds: Sequence[int],
    conditions: Conditions | None = None,
    candidates: Sequence[Rule | Optimiser] | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Try rules and optimisers (default: `grid`) on these seeds, in an ordinary market and in one with few drivers.

    The score is the gain in completed trips in both, less what consumers, or the worst-served district, lose in either.
    """
    ordinary = conditions or Conditions()
    scarce = msgspec.structs.replace(ordinary, drivers=ordinary.drivers * SCARCE)
    markets = (ordinary, scarce)
    base = [measure(simulate(city, NoSurge(), seeds, market)) for market in markets]
    candidates = candidates or grid(ordinary.riders, Bounds())
    trials = []
    for done, policy in enumerate(candidates):
        progress("tune policies", done, len(candidates))
        found = [measure(simulate(city, policy, seeds, market)) for market in markets]
        trips = [mine.completed / none.completed - 1 for mine, none in zip(found, base, strict=True)]
        surplus = min(
            mine.consumer_surplus_usd / none.consumer_surplus_usd - 1 for mine, none in zip(found, base, strict=True)
        )
        worst = min(
            mine.worst_district_share / none.worst_district_share - 1 for mine, none in zip(found, base, strict=True)
        )
        score = sum(trips) + min(surplus, 0.0) + min(worst, 0.0)
        trials.append(Trial(policy.name, _settings(policy), trips[0], trips[1], surplus, worst, score))
    progress("tune policies", len(candidates), len(candidates))
    return Tuned(_best(trials, "rule"), _best(trials, "optimiser"), tuple(seeds), tuple(trials))


def _best(trials: Sequence[Trial], policy: str) -> dict[str, float]:
    mine = [trial for trial in trials if trial.policy == policy]
    return mine[int(np.argmax([trial.score for trial in mine]))].settings


def _settings(policy: Rule | Optimiser) -> dict[str, float]:
    if isinstance(policy, Rule):
        return {"slope": policy.slope, "tightness": policy.tightness}
    return {"reserve": policy.reserve}
