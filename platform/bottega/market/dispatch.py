"""Dispatch: the nearest car to each rider, and how long it takes to get there."""

from dataclasses import dataclass

import numpy as np

from bottega.market.city import City

SPARSE_MIN = 6.0
"""Driving time to a rider from the only free car in the same district."""


@dataclass(frozen=True)
class Reach:
    """Which districts' cars may be sent where: pairs (rider's, car's), nearest first, and the minutes."""

    pairs: tuple[tuple[int, int], ...]
    minutes: np.ndarray  # (districts, districts) float64

    @classmethod
    def of(cls, city: City, at_most_min: float = 22.0) -> "Reach":
        """Every pair of districts no further apart than `at_most_min`, a district's own cars first."""
        own = np.eye(city.districts, dtype=bool)
        order = np.argsort(np.where(own, -1.0, city.minutes), axis=None, kind="stable")
        found = [divmod(int(place), city.districts) for place in order]
        near = tuple((i, j) for i, j in found if i == j or city.minutes[i, j] <= at_most_min)
        return cls(near, city.minutes)


def dispatch(reach: Reach, waiting: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Cars sent, (worlds, rider's district, car's district), nearest pairs first.

    waiting, free: (worlds, districts) whole numbers of riders and cars.
    """
    riders, cars = waiting.T.copy(), free.T.copy()  # (districts, worlds): each pair reads two rows
    sent = np.zeros((waiting.shape[1], free.shape[1], len(waiting)))
    for i, j in reach.pairs:
        taken = np.minimum(riders[i], cars[j])
        sent[i, j] = taken
        riders[i] -= taken
        cars[j] -= taken
    return sent.transpose(2, 0, 1)


def near_min(free: np.ndarray) -> np.ndarray:
    """Driving time to a rider in the same district among `free` cars: it falls with the root of their density.

    Sources: Larson and Odoni, "Urban Operations Research" (1981), on the nearest of cars at random places.
    """
    return np.asarray(SPARSE_MIN / np.sqrt(np.maximum(free, 1.0)))


def quoted_min(reach: Reach, waiting: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The wait that the app shows, (worlds, districts): the nearest district with a free car that nobody waits for."""
    left = np.maximum(free - waiting, 0)
    wait = np.full(left.shape, reach.minutes.max() + 1.0)
    for i, j in reversed(reach.pairs):  # the nearest is written last
        minutes = near_min(left[:, j]) if i == j else reach.minutes[i, j]
        wait[:, i] = np.where(left[:, j] >= 1, minutes, wait[:, i])
    return wait
