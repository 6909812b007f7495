"""Negative binomial counts against scipy's distribution and drawn counts."""

import numpy as np
import pytest
from scipy import stats

from bottega.training.dispersion import LARGEST, fit_size, pinball, steps


@pytest.mark.parametrize("size", [0.7, 4.0, 60.0])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_steps_are_the_quantile(size: float, level: float) -> None:
    mean = np.random.default_rng(1).uniform(0.01, 60, 500)
    told = np.searchsorted(steps(level, size), mean, side="right")
    np.testing.assert_array_equal(told, stats.nbinom.ppf(level, size, size / (size + mean)))


def test_steps_rise_and_quantiles_are_in_order() -> None:
    low, middle, high = (np.array(steps(level, 8.0)) for level in (0.1, 0.5, 0.9))
    for one in (low, middle, high):
        assert len(one) == LARGEST
        assert (np.diff(one) > 0).all()
    assert (low > middle).all()  # a low quantile steps up later
    assert (middle > high).all()


@pytest.mark.parametrize("size", [2.0, 15.0])
def test_the_size_of_drawn_counts_is_found(size: float) -> None:
    rng = np.random.default_rng(3)
    mean = rng.uniform(0.5, 20, 40_000)
    found = fit_size(rng.negative_binomial(size, size / (size + mean)).astype(float), mean)
    assert found == pytest.approx(size, rel=0.08)


def test_poisson_counts_have_a_large_size() -> None:
    rng = np.random.default_rng(4)
    mean = rng.uniform(0.5, 20, 40_000)
    assert fit_size(rng.poisson(mean).astype(float), mean) > 200


def test_the_true_quantile_has_the_least_pinball_loss() -> None:
    counts = np.random.default_rng(5).poisson(4.0, 50_000).astype(float)
    losses = [pinball(counts, np.full(len(counts), float(guess)), 0.9) for guess in range(12)]
    assert int(np.argmin(losses)) == stats.poisson.ppf(0.9, 4.0)
