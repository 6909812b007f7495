"""Calibration: probabilities that come true as often as they say, whatever the scores' scale."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bottega.training.calibration import Calibration, calibration_error, fit_calibration


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.random(rows)
    return np.log(truth / (1 - truth)), (chance.random(rows) < truth).astype(float), truth


def test_scores_that_are_too_sure_are_brought_back() -> None:
    score, label, truth = draw(20_000, 1)
    found = fit_calibration(3 * score - 1, label)
    assert found.slope == pytest.approx(1 / 3, rel=0.05) and found.shift == pytest.approx(1 / 3, abs=0.05)
    assert np.abs(found(3 * score - 1) - truth).max() < 0.02
    raw = 1 / (1 + np.exp(-(3 * score - 1)))
    assert calibration_error(found(3 * score - 1), label) < 0.02 < calibration_error(raw, label)


def test_it_is_a_logistic_regression_but_for_platts_targets() -> None:
    score, label, _ = draw(5_000, 2)
    found = fit_calibration(score, label)
    other = LogisticRegression(C=1e9).fit(score[:, None], label)
    assert (found.slope, found.shift) == pytest.approx((other.coef_[0, 0], other.intercept_[0]), abs=0.01)


def test_separated_classes_give_finite_numbers() -> None:
    found = fit_calibration(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert np.isfinite([found.slope, found.shift]).all()
    assert 0.5 < found(np.array([2.0]))[0] < 0.95


def test_error_is_the_mean_gap_over_the_intervals() -> None:
    probability = np.array([0.05, 0.05, 0.95, 0.95])
    assert calibration_error(probability, np.array([0, 0, 1, 1])) == pytest.approx(0.05)
    assert calibration_error(probability, np.array([0, 1, 1, 1])) == pytest.approx((0.9 + 0.1) / 4)
    assert Calibration()(np.array([0.0])).tolist() == [0.5]
