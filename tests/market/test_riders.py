"""Closed forms against riders that are drawn one by one."""

import numpy as np
import pytest

from bottega.market.riders import Riders


@pytest.mark.parametrize("cost", [0.7, 1.0, 1.6, 3.0])
def test_shares_and_worth_are_those_of_drawn_riders(cost: float) -> None:
    riders = Riders()
    rng = np.random.default_rng(5)
    worth = riders.worth * np.exp(riders.worth_spread * rng.normal(size=400_000))
    assert riders.would_pay(np.array(cost)) == pytest.approx((worth > cost).mean(), abs=3e-3)
    assert riders.worth_above(np.array(cost)) == pytest.approx(worth[worth > cost].mean(), rel=1e-2)


def test_patience_is_a_median() -> None:
    riders = Riders()
    assert riders.would_wait(np.array(riders.patience_min)) == pytest.approx(0.5)
    assert riders.would_wait(np.array(2.0)) > 0.99
    assert riders.would_wait(np.array(90.0)) < 0.01


def test_a_higher_price_loses_as_many_as_was_measured_at_uber() -> None:
    riders, wait = Riders(), 0.15
    for multiplier, elasticity in ((1.0, 0.3), (1.5, 0.5)):
        lost = 1 - riders.would_pay(np.array(multiplier * 1.01 + wait)) / riders.would_pay(np.array(multiplier + wait))
        assert 100 * lost == pytest.approx(elasticity, abs=0.06)
