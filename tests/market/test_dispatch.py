"""Dispatch against a search that looks at one rider at a time."""

import numpy as np

from bottega.market.city import City
from bottega.market.dispatch import Reach, dispatch, near_min, quoted_min


def one_by_one(reach: Reach, waiting: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Again and again the nearest pair of a rider and a car."""
    left, cars = waiting.copy(), free.copy()
    sent = np.zeros((len(waiting), len(free)))
    while True:
        pair = next(((i, j) for i, j in reach.pairs if left[i] > 0 and cars[j] > 0), None)
        if pair is None:
            return sent
        i, j = pair
        left[i] -= 1
        cars[j] -= 1
        sent[i, j] += 1


def test_cars_go_to_the_nearest_riders(city: City) -> None:
    reach = Reach.of(city)
    rng = np.random.default_rng(1)
    waiting, free = (rng.integers(0, 6, (5, city.districts)).astype(float) for _ in range(2))
    sent = dispatch(reach, waiting, free)
    for world in range(5):
        np.testing.assert_array_equal(sent[world], one_by_one(reach, waiting[world], free[world]))
    assert (sent.sum(axis=2) <= waiting).all()
    assert (sent.sum(axis=1) <= free).all()


def test_own_cars_come_first_and_far_ones_not_at_all(city: City) -> None:
    reach = Reach.of(city, at_most_min=10)
    assert set(reach.pairs[: city.districts]) == {(i, i) for i in range(city.districts)}
    assert all(city.minutes[i, j] <= 10 for i, j in reach.pairs[city.districts :])


def test_scarce_cars_are_far_away(city: City) -> None:
    assert near_min(np.array(1.0)) == 2 * near_min(np.array(4.0))
    reach = Reach.of(city)
    nobody, plenty = np.zeros((1, city.districts)), np.full((1, city.districts), 9.0)
    assert (quoted_min(reach, nobody, plenty) == near_min(plenty)).all()
    assert (quoted_min(reach, nobody, nobody) > reach.minutes.max()).all()
    one = nobody.copy()
    one[0, 3] = 1
    quoted = quoted_min(reach, nobody, one)[0]
    assert quoted[3] == near_min(np.array(1.0))
    near = [i for i, j in reach.pairs if j == 3 and i != 3]
    np.testing.assert_array_equal(quoted[near], reach.minutes[near, 3])
