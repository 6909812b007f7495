"""Thresholds between machine and person: safe at their rates, for rows that were not used to set them."""

import numpy as np
import pytest

from bottega.training.triage import NOBODY, Triage, decided, error_at, fit_triage


def draw(rows: int, seed: int, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    label = (chance.random(rows) < 0.5).astype(float)
    return 1 / (1 + np.exp(-chance.normal(gap * (2 * label - 1), 1.5))), label


def test_wrong_decisions_keep_their_rates_on_new_rows() -> None:
    accepted, rejected = [], []
    for seed in range(60):
        probability, label = draw(400, seed)
        found = fit_triage(probability, label, 0.05, 0.02)
        new, truth = draw(2000, 1000 + seed)
        accepted.append((new[truth == 0] >= found.accept_from).mean())
        rejected.append((new[truth == 1] < found.reject_below).mean())
    assert np.mean(accepted) <= 0.05 and np.mean(rejected) <= 0.02
    assert np.mean(accepted) > 0.03 and np.mean(rejected) > 0.008  # and no more careful than they must be


def test_on_its_own_rows_no_more_are_wrong_than_the_rate_allows() -> None:
    probability, label = draw(500, 3)
    found = fit_triage(probability, label, 0.04, 0.04)
    assert found.accept_from is not None and found.reject_below is not None
    assert found.accept_from >= 0.5 >= found.reject_below
    assert (probability[label == 0] >= found.accept_from).mean() <= 0.04
    assert (probability[label == 1] < found.reject_below).mean() <= 0.04


def test_with_too_few_rows_nothing_is_decided() -> None:
    probability, label = draw(40, 1)
    assert fit_triage(probability, label, 0.001, 0.001) == NOBODY
    assert fit_triage(probability, label, None, None) == NOBODY


def test_a_perfect_model_decides_everything() -> None:
    label = np.repeat([0.0, 1.0], 300)
    found = fit_triage(np.where(label == 1, 0.99, 0.01), label, 0.02, 0.02)
    assert found == Triage(0.5, 0.5)
    assert decided(np.array([0.2, 0.5, 0.9]), found).all()
    assert not decided(np.array([0.2, 0.5, 0.9]), NOBODY).any()


def test_error_at_a_share_counts_the_surest() -> None:
    probability = np.array([0.99, 0.02, 0.4, 0.55, 0.9])
    label = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    assert error_at(probability, label, 1.0) == pytest.approx(2 / 5)
    assert error_at(probability, label, 0.6) == pytest.approx(1 / 3)
    assert error_at(probability, label, 0.2) == 0
