"""Conditions: what a market's days are like, whoever sets the prices; and what of them is luck, drawn from a seed."""

from collections.abc import Sequence

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.market.city import TICK_MIN, TICKS, City
from bottega.market.riders import Riders

STREAMS = 5
"""Uniform numbers that a district uses in a tick."""


class Conditions(msgspec.Struct, frozen=True):
    """What a market's days are like: the share of ordinary drivers, how they answer to pay, and an emergency, if any.

    `elasticity`: pay that is 1 % better brings so many per cent more drivers; 0 for drivers who do not respond.
    `emergency`: first and last tick (exclusive) of a declared one, in which `emergency_factor` times as many ask.
    """

    drivers: float = 1.0
    elasticity: float = 0.6
    riders: Riders = Riders()
    emergency: tuple[int, int] | None = None
    emergency_factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.drivers <= 10:
            raise InvalidInput(f"The share of drivers is {self.drivers:g}; it must be above 0 and at most 10.")
        if not 0 <= self.elasticity <= 5:
            raise InvalidInput(f"The elasticity is {self.elasticity:g}; it must be from 0 to 5.")


def draw(city: City, seeds: Sequence[int], conditions: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """Requests (worlds, ticks, districts) and luck (worlds, ticks, streams, districts), each world from its seed."""
    expected = city.requests.copy()
    if conditions.emergency is not None:
        expected[slice(*conditions.emergency)] *= conditions.emergency_factor
    requests, luck = [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 0])
        level = rng.lognormal(0, 0.08) * np.exp(_wander(rng, city.districts, 0.15))
        requests.append(rng.poisson(expected * level))
        luck.append(np.random.default_rng([seed, 1]).uniform(size=(TICKS, STREAMS, city.districts)))
    return np.stack(requests).astype(np.float64), np.stack(luck)


def _wander(rng: np.random.Generator, districts: int, spread: float) -> np.ndarray:
    """A slow swing of each district's demand within a day, (ticks, districts): an autoregression of about two hours."""
    keep = np.exp(-TICK_MIN / 120)
    steps = rng.normal(0, spread * np.sqrt(1 - keep**2), (TICKS, districts))
    swing = np.zeros((TICKS, districts))
    swing[0] = rng.normal(0, spread, districts)
    for tick in range(1, TICKS):
        swing[tick] = keep * swing[tick - 1] + steps[tick]
    return swing
