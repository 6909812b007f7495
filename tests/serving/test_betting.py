"""Betting: the wealth is what it says, and a true bound is refuted as seldom as promised, whenever one looks."""

import math

import numpy as np
import pytest

from bottega.serving.betting import BOLD, BOLD_SHARE, TIMID, Betting


def ever_refuted(bound: float, alpha: float, mean: float, lowest: float, runs: int, length: int) -> float:
    """Share of runs of two-valued observations of that mean whose wealth reached the limit at any time (numpy)."""
    chance = (mean - lowest) / (1 - lowest)
    x = np.where(np.random.default_rng(30).random((runs, length)) < chance, 1.0, lowest)
    largest = 1 / (bound - lowest)
    logs = [np.cumsum(np.log1p(part * largest * (x - bound)), axis=1) for part in (BOLD, TIMID)]
    wealth = BOLD_SHARE * np.exp(logs[0]) + (1 - BOLD_SHARE) * np.exp(logs[1])
    return float((wealth.max(axis=1) >= 1 / alpha).mean())


@pytest.mark.parametrize(("bound", "lowest"), [(0.5, 0.0), (0.1, 0.0), (0.01, -1.0), (0.125, -1.0)])
def test_a_true_bound_is_refuted_as_seldom_as_promised(bound: float, lowest: float) -> None:
    runs, alpha = 2000, 0.05
    found = ever_refuted(bound, alpha, bound, lowest, runs, 2000)  # exactly at the bound: the hardest case
    assert found <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_the_wealth_is_the_mean_of_both_players() -> None:
    test = Betting(0.2, 0.01, lowest=-1.0)
    x = np.random.default_rng(31).uniform(-1, 1, 200)
    for value in x:
        test.observe(value)
    bold, timid = (np.prod(1 + part / 1.2 * (x - 0.2)) for part in (BOLD, TIMID))
    assert test.log_wealth == pytest.approx(math.log(BOLD_SHARE * bold + (1 - BOLD_SHARE) * timid))
    assert test.mean == pytest.approx(x.mean())
    assert not test.refuted


def test_a_wrong_bound_is_refuted_for_good_reason() -> None:
    test = Betting(0.5, 0.001)
    while not test.refuted:
        test.observe(1.0)
    assert test.count == math.ceil((math.log(1000) - math.log(BOLD_SHARE)) / math.log1p(BOLD))
