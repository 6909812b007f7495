"""The state of a market between two ticks, of many worlds at once."""

from dataclasses import dataclass

import numpy as np

from bottega.market.city import City
from bottega.market.conditions import Conditions

LONGEST_TICKS = 32
"""No car is under way for longer."""


@dataclass
class State:
    """The worlds between two ticks: (worlds, districts) each, but for those that say otherwise."""

    free: np.ndarray
    coming: np.ndarray  # (ticks ahead, worlds, districts): cars that get free then
    waiting: np.ndarray
    waited_min: np.ndarray  # of all who wait, together
    worth: np.ndarray  # of the rides of all who wait, together, in ordinary fares
    paying: np.ndarray  # their multipliers, added up
    pressure: np.ndarray  # how today's requests compare to an ordinary day's
    supply: np.ndarray  # smoothed cars
    last: np.ndarray  # multiplier
    pay: np.ndarray  # (worlds,): smoothed multiplier of the drivers' trips


def begin(city: City, worlds: int, conditions: Conditions) -> State:
    """Midnight: the ordinary number of cars, free, where requests are."""
    shape = (worlds, city.districts)
    share = city.requests[0] / city.requests[0].sum()
    free = np.broadcast_to(np.round(city.cars[0] * conditions.drivers * share), shape).copy()
    nobody, ones = np.zeros(shape), np.ones(shape)
    return State(
        free=free,
        coming=np.zeros((LONGEST_TICKS, *shape)),
        waiting=nobody,
        waited_min=nobody,
        worth=nobody,
        paying=nobody,
        pressure=ones,
        supply=free,
        last=ones,
        pay=np.ones(worlds),
    )
