"""Learners of counts find the means that counts were drawn with, and say the same for the same seed."""

import numpy as np
import onnxruntime
import pytest
import xgboost

from bottega.training.count_boosting import fit_count_trees
from bottega.training.count_network import fit_count_network
from bottega.training.settings import CountNetworkSettings, CountSettings

INPUTS = ("zone", "hour", "load")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with nulls, true means and counts, (rows, ...) each."""
    rng = np.random.default_rng(1)
    features = np.column_stack([rng.integers(0, 5, 8000), rng.uniform(0, 24, 8000), rng.normal(size=8000)])
    mean = np.exp(0.3 * features[:, :1] + 0.4 * features[:, 2:] + np.array([0.0, 1.0]))
    features[rng.uniform(size=8000) < 0.05, 1] = np.nan
    return features.astype(np.float32), mean, rng.poisson(mean).astype(float)


def test_trees_expect_several_counts(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, mean, counts = drawn
    settings = CountSettings(rounds=80, learning_rate=0.15)
    tune = (features[6000:], counts[6000:])
    fitted = fit_count_trees(features[:6000], counts[:6000], tune, settings, seed=3, threads=1)
    booster = xgboost.Booster()
    booster.load_model(bytearray(fitted.model))
    found = booster.inplace_predict(features[6000:])
    assert found.shape == (2000, 2)
    assert np.abs(found / mean[6000:] - 1).mean() < 0.15
    assert fitted.length <= 80
    again = fit_count_trees(features[:6000], counts[:6000], tune, settings, seed=3, threads=1)
    assert again.model == fitted.model


def test_the_network_expects_several_counts(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, mean, counts = drawn
    settings = CountNetworkSettings(ids=("zone",), epochs=12, batch=256, dropout=0.0)
    tune = (features[6000:], counts[6000:])
    fitted = fit_count_network(features[:6000], counts[:6000], tune, INPUTS, settings, seed=3, threads=1)
    session = onnxruntime.InferenceSession(fitted.model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"features": features[6000:]})
    assert np.abs(found / mean[6000:] - 1).mean() < 0.15
    odd = np.array([[np.nan, np.nan, np.nan], [1e9, -1e9, np.inf], [-5.0, 0.0, 0.0]], np.float32)
    (answers,) = session.run(None, {"features": odd})
    assert np.isfinite(answers).all()
    again = fit_count_network(features[:6000], counts[:6000], tune, INPUTS, settings, seed=3, threads=1)
    assert again.model == fitted.model
