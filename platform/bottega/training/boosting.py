"""Gradient-boosted trees by XGBoost on the log residual, stopped by the error in the label's own unit."""

import dataclasses
from typing import Any

import numpy as np
import xgboost

from bottega.progress import Progress, silent
from bottega.training.fitted import Fitted, Rows
from bottega.training.settings import BoostingSettings

TASK = "Boosting trees"


def fit_boosting(
    rows: Rows,
    tune: Rows | None,
    settings: BoostingSettings,
    *,
    seed: int,
    threads: int,
    length: int | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit trees to `rows`, for `length` rounds or until the error on `tune` has not improved for `patience` rounds."""
    params = {
        "objective": "reg:pseudohubererror",
        "huber_slope": settings.huber_slope,
        "base_score": 0.0,
        "tree_method": "hist",
        "max_depth": settings.depth,
        "eta": settings.learning_rate,
        "lambda": settings.l2,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.row_share,
        "colsample_bynode": settings.column_share,
        "nthread": threads,
        "seed": seed,
        "disable_default_eval_metric": True,
    }
    rounds = length or settings.rounds
    evals = [] if tune is None else [(_matrix(tune), "tune")]
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        params,
        _matrix(rows),
        rounds,
        evals=evals,
        custom_metric=None if tune is None else lambda predicted, _: ("mae", tune.mean_abs_error(predicted)),
        early_stopping_rounds=None if tune is None else settings.patience,
        evals_result=history,
        verbose_eval=False,
        callbacks=[Reporting(progress, TASK, rounds)],
    )
    best = rounds if tune is None else booster.best_iteration + 1
    curves = {f"{part}_{name}": tuple(v) for part, values in history.items() for name, v in values.items()}
    kept = booster[:best]
    return Fitted(bytes(kept.save_raw("ubj")), best, dataclasses.asdict(settings) | {"seed": seed}, curves)


def _matrix(rows: Rows) -> xgboost.DMatrix:
    return xgboost.DMatrix(rows.features, rows.residual.astype(np.float32), weight=rows.weight.astype(np.float32))


class Reporting(xgboost.callback.TrainingCallback):
    """Reports each round."""

    def __init__(self, progress: Progress, task: str, rounds: int) -> None:
        self.progress, self.task, self.rounds = progress, task, rounds

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.progress(self.task, epoch + 1, self.rounds)
        return False
