import dataclasses

import numpy as np
import pytest

from bottega.training.encoding import (
    LOG_MEAN,
    LOG_ROWS,
    LOG_SPREAD,
    Grid,
    PairEncoding,
    Pairs,
    fit_encoding,
)

SETTINGS = PairEncoding("pairs", ("a", "b"), "km", smoothing=4.0, id_smoothing=1.0, curve_bins=40, sweeps=30)


def some_pairs(rows=4000, seed=0):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 6, rows), rng.integers(0, 6, rows)
    km = np.abs(first - second).astype(float)
    return Pairs(first, second, km, 1.0 + 0.1 * first - 0.05 * second + 0.3 * km + rng.normal(0, 0.1, rows))


def grid_of_six():
    first, second = np.divmod(np.arange(36), 6)
    return Grid((6, 6), np.abs(first - second).astype(float))


def test_a_pair_leans_on_its_prior_by_the_rows_that_it_lacks():
    pairs, grid = some_pairs(), grid_of_six()
    strong = fit_encoding(pairs, grid, SETTINGS)
    for first, second in ((0, 1), (4, 2)):
        own = pairs.log_label[(pairs.first == first) & (pairs.second == second)]
        value = strong.columns[LOG_MEAN][first * 6 + second]
        free = fit_encoding(pairs.where((pairs.first != first) | (pairs.second != second)), grid, SETTINGS)
        assert abs(value - own.mean()) < 0.02
        assert strong.columns[LOG_ROWS][first * 6 + second] == np.log1p(len(own))
        assert free.columns[LOG_ROWS][first * 6 + second] == 0
        # Never seen: level, both ids and the distance still say about what it is.
        assert free.columns[LOG_MEAN][first * 6 + second] == pytest.approx(own.mean(), abs=0.1)


def test_the_mean_is_a_weighted_mean_of_rows_and_prior():
    pairs, grid = some_pairs(60), grid_of_six()
    prior = fit_encoding(pairs, grid, dataclasses.replace(SETTINGS, smoothing=1e12)).columns[LOG_MEAN]
    found = fit_encoding(pairs, grid, SETTINGS).columns[LOG_MEAN]
    for key in range(36):
        own = pairs.log_label[pairs.first * 6 + pairs.second == key]
        assert found[key] == pytest.approx((own.sum() + 4.0 * prior[key]) / (len(own) + 4.0))


def test_an_unknown_covariate_has_its_own_level():
    pairs = some_pairs()
    lost = np.where(pairs.first == 3, np.nan, pairs.covariate)
    grid = grid_of_six()
    unknown = Grid((6, 6), np.where(np.arange(36) // 6 == 3, np.nan, grid.covariate))
    found = fit_encoding(Pairs(pairs.first, pairs.second, lost, pairs.log_label), unknown, SETTINGS)
    assert np.isfinite(found.columns[LOG_MEAN]).all()
    assert (found.columns[LOG_SPREAD] > 0).all()
