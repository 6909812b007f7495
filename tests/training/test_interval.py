import numpy as np
import pytest

from bottega.training.interval import IntervalSettings, fit_interval

SETTINGS = IntervalSettings("low", "high", smoothing=10.0)


def test_a_full_cell_has_its_own_quantiles_and_covers_four_of_five_new_rows():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, 60_000), rng.integers(0, 2, 60_000)
    scale = 0.1 + 0.1 * first + 0.05 * second
    table = fit_interval([first, second], rng.normal(0, scale), (3, 2), SETTINGS)
    low, high = table.read([first, second], ["low", "high"])
    fresh = rng.normal(0, scale)
    for a in range(3):
        for b in range(2):
            cell = (first == a) & (second == b)
            assert ((fresh >= low) & (fresh <= high))[cell].mean() == pytest.approx(0.8, abs=0.02)


def test_an_empty_cell_leans_on_its_band_and_an_empty_band_on_all_rows():
    residual = np.linspace(-1, 1, 1001)
    table = fit_interval([np.zeros(1001, int), np.zeros(1001, int)], residual, (2, 2), SETTINGS)
    assert table.columns["low"] == pytest.approx(-0.8)
    assert table.columns["high"] == pytest.approx(0.8)


def test_the_answer_always_lies_within():
    table = fit_interval([np.zeros(50, int), np.zeros(50, int)], np.full(50, 0.3), (1, 1), SETTINGS)
    assert table.columns["low"][0] == 0.0
    assert table.columns["high"][0] == pytest.approx(0.3)
