"""Gradient-boosted trees of counts by XGBoost: Poisson's likelihood, several counts of a row at once."""

import dataclasses

import numpy as np
import xgboost

from bottega.progress import Progress, silent
from bottega.training.boosting import Reporting
from bottega.training.fitted import Fitted
from bottega.training.settings import CountSettings

TASK = "Boosting trees of counts"


def fit_count_trees(
    features: np.ndarray,
    counts: np.ndarray,
    tune: tuple[np.ndarray, np.ndarray] | None,
    settings: CountSettings,
    *,
    seed: int,
    threads: int,
    length: int | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit trees to features (rows, features) and counts (rows, outputs), for `length` rounds.

    Without a length it goes on until the likelihood of `tune` has not improved for `patience` rounds.
    """
    params = {
        "objective": "count:poisson",
        "tree_method": "hist",
        "max_depth": settings.depth,
        "eta": settings.learning_rate,
        "lambda": settings.l2,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.row_share,
        "colsample_bynode": settings.column_share,
        "nthread": threads,
        "seed": seed,
        "eval_metric": "poisson-nloglik",
    }
    rounds = length or settings.rounds
    evals = [] if tune is None else [(xgboost.DMatrix(*tune), "tune")]
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        params,
        xgboost.DMatrix(features, counts),
        rounds,
        evals=evals,
        early_stopping_rounds=None if tune is None else settings.patience,
        evals_result=history,
        verbose_eval=False,
        callbacks=[Reporting(progress, TASK, rounds)],
    )
    best = rounds if tune is None else booster.best_iteration + 1
    curves = {f"{part}_{name}": tuple(v) for part, values in history.items() for name, v in values.items()}
    return Fitted(bytes(booster[:best].save_raw("ubj")), best, dataclasses.asdict(settings) | {"seed": seed}, curves)
