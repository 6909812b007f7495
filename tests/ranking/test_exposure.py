"""Clicks favour the order that was shown; weighed by attention they tell the truth, which the simulator knows."""

import dataclasses

import numpy as np
import pytest

from bottega.datasets.eats import build_guide, build_visitors
from bottega.datasets.impressions import Impressions, simulate_impressions
from bottega.errors import InvalidInput
from bottega.ranking.exposure import estimate_attention, judge_order

SEED = 5


@pytest.fixture(scope="module")
def order() -> np.ndarray:
    """The order shown: the dearest first, which few visitors want."""
    return build_guide(SEED).traits["price"]


@pytest.fixture(scope="module")
def log(order: np.ndarray) -> Impressions:
    return simulate_impressions(SEED, order, lists=20_000)


def test_lists_are_shown_in_order_but_for_the_shuffled_ones(log: Impressions, order: np.ndarray) -> None:
    shown = order[log.items]
    assert (np.diff(shown[~log.shuffled], axis=1) <= 0).all()
    assert (np.diff(shown[log.shuffled], axis=1) > 0).any()
    assert 0.08 < log.shuffled.mean() < 0.12
    again = simulate_impressions(SEED, order, lists=20_000)
    np.testing.assert_array_equal(log.clicked, again.clicked)


def test_clicks_praise_the_order_shown_and_weighed_clicks_know_better(log: Impressions, order: np.ndarray) -> None:
    popular = build_visitors(SEED).utility.mean(0)  # what people like on average
    old = judge_order(log, order[log.items], log.attention)
    new = judge_order(log, popular[log.items], log.attention)
    assert new.true > old.true * 1.02
    assert new.naive < old.naive  # the naive judge would keep the worse order
    assert new.weighed > old.weighed
    for worth in (old, new):
        assert worth.weighed == pytest.approx(worth.true, rel=0.03)


def test_attention_can_be_learned_from_random_orders(log: Impressions) -> None:
    np.testing.assert_allclose(estimate_attention(log), log.attention / log.attention[0], atol=0.08)
    few = dataclasses.replace(log, shuffled=np.zeros(len(log.items), bool))
    with pytest.raises(InvalidInput, match="random order"):
        estimate_attention(few)
    with pytest.raises(InvalidInput, match="0 or less"):
        judge_order(log, log.liked, np.zeros(10))
