"""Places, hits and what lists show, against plain loops."""

import numpy as np
import pytest

from bottega.ranking.rank_metrics import beyond_accuracy, hit_at, mrr_at, ranks, shown


def test_places_are_those_of_a_sort_in_which_the_lower_id_comes_first() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 5, (200, 30)).astype(np.float32)  # full of ties
    chosen = rng.integers(0, 30, 200)
    found = ranks(scores, chosen)
    for row in range(200):
        order = sorted(range(30), key=lambda item: (-scores[row, item], item))
        assert found[row] == order.index(chosen[row]) + 1
        assert shown(scores)[row].tolist() == order[:10]


def test_hits_and_reciprocal_places_stop_at_ten() -> None:
    places = np.array([1, 4, 10, 11])
    assert hit_at(places) == 0.75
    assert mrr_at(places) == pytest.approx((1 + 1 / 4 + 1 / 10) / 4)


def test_lists_that_show_everything_equally_are_neither_biased_nor_unequal() -> None:
    items = np.arange(8).reshape(4, 2)
    found = beyond_accuracy(items, np.ones(8))
    assert found == pytest.approx({"coverage": 1, "novelty_bits": 3, "popularity_bias": 1, "gini": 0})
    found = beyond_accuracy(np.zeros((4, 2), np.int64), np.array([3.0, 1, 1, 1]))
    assert found["coverage"] == 0.25
    assert found["popularity_bias"] == pytest.approx(2)
    assert found["novelty_bits"] == pytest.approx(1)
    assert found["gini"] == pytest.approx(0.75)
