import numpy as np
import pytest
import xgboost

from bottega.training.boosting import TASK, fit_boosting
from bottega.training.fitted import Rows
from bottega.training.reference import model_function
from bottega.training.settings import BoostingSettings

SETTINGS = BoostingSettings(rounds=80, patience=5, depth=4, learning_rate=0.3, min_child_weight=20.0, l2=1.0)


def some_rows(rows, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 3)).astype(np.float32)
    features[::7, 1] = np.nan
    base = rng.normal(2, 0.3, rows)
    return Rows(features, base, np.exp(base + 0.4 * np.sin(2 * features[:, 0]) + rng.normal(0, 0.2, rows)))


def test_it_learns_the_residual_and_stops_by_minutes():
    seen = []
    rows, tune = some_rows(4000, 0), some_rows(2000, 1)
    fitted = fit_boosting(rows, tune, SETTINGS, seed=1, threads=1, progress=lambda *report: seen.append(report))
    errors = fitted.curves["tune_mae"]
    residual = model_function("trees", fitted.model)(tune.features)[:, 0]
    assert fitted.length == int(np.argmin(errors)) + 1 < SETTINGS.rounds
    assert tune.mean_abs_error(residual) == pytest.approx(min(errors), rel=1e-5)
    assert min(errors) < 0.8 * tune.mean_abs_error(np.zeros(len(tune.label)))
    assert seen[0] == (TASK, 1, SETTINGS.rounds)


def test_a_given_length_is_kept_and_the_seed_decides():
    rows = some_rows(1500, 2)
    one, same, other = (fit_boosting(rows, None, SETTINGS, seed=s, threads=1, length=9) for s in (1, 1, 2))
    booster = xgboost.Booster()
    booster.load_model(bytearray(one.model))
    assert booster.num_boosted_rounds() == one.length == 9
    assert one.model == same.model != other.model


def test_quick_learns_less():
    assert SETTINGS.quick().rounds < SETTINGS.rounds
