"""Scoring of demand models: which places are judged, what a package answers there, and how far it errs."""

import numpy as np
import pandas as pd

from bottega.times import HOUR_US
from bottega.training.demand import PROFILE, DemandRecipe
from bottega.training.demand_examples import DemandExamples
from bottega.training.dispersion import pinball
from bottega.training.evaluate import Evaluation, SliceScore
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference

LOSS = "wape_1h"
BASELINE = "wape_profile"


def judged(package: ModelPackage, recipe: DemandRecipe, examples: DemandExamples) -> DemandExamples:
    """The rows of the places with the highest counts of the training span; of equals, the lower number."""
    table = package.tables[PROFILE]
    ids = np.flatnonzero(table.known.reshape(-1, table.strides[0]).any(axis=1))
    (level,) = table.read([ids, np.zeros(len(ids), np.int64)], [f"{recipe.target.label}_level"])
    best = ids[np.argsort(-level, kind="stable")[: recipe.judged]]
    return examples.where(np.isin(examples.request[recipe.place], best))


def predict(package: ModelPackage, recipe: DemandRecipe, examples: DemandExamples) -> pd.DataFrame:
    """The reference's answers: at, label_at (UTC), actual, predicted, low, high, mean, baseline, and the request's."""
    ready = Reference(package).columns(examples.request, examples.given)
    target, at = recipe.target, pd.to_datetime(examples.at_us, unit="us", utc=True)
    usual = package.tables[PROFILE].read(
        [examples.request[recipe.place], examples.hour_of_week], [f"{recipe.target.label}_mean"]
    )
    return pd.DataFrame(
        {
            "at": at,
            "label_at": at + pd.Timedelta(HOUR_US, "us"),
            "actual": examples.counts[target.label],
            "predicted": np.asarray(ready[target.answer], np.float64),
            "low": np.asarray(ready[target.low], np.float64),
            "high": np.asarray(ready[target.high], np.float64),
            "mean": np.asarray(ready[next(iter(recipe.expected))], np.float64),
            "baseline": usual[0],
        }
    ).assign(**{name: column for name, column in examples.request.items() if name != recipe.calendar.input})


def score(predicted: pd.DataFrame, recipe: DemandRecipe) -> Evaluation:
    """Errors over all rows, each place's beside them, the worst three named; `wape` is per count that there was."""
    actual = predicted["actual"].to_numpy()
    whole = max(actual.sum(), 1.0)
    pinballs = {
        f"pinball_{level:g}": pinball(actual, predicted[column].to_numpy(), level)
        for column, level in (("low", 0.1), ("predicted", 0.5), ("high", 0.9))
    }
    metrics = {
        LOSS: float(np.abs(predicted["predicted"] - actual).sum() / whole),
        BASELINE: float(np.abs(predicted["baseline"] - actual).sum() / whole),
        "wape_1h_of_mean": float(np.abs(predicted["mean"] - actual).sum() / whole),
        "bias_of_mean": float((predicted["mean"] - actual).sum() / whole),
        "coverage_80": float(_covered(predicted).mean()),
        **pinballs,
    }
    slices = [
        *_by_group(predicted, recipe.place, predicted[recipe.place].astype(str)),
        *_by_group(predicted, "hour", predicted["at"].dt.tz_convert(recipe.calendar.timezone).dt.strftime("%H")),
    ]
    worst = sorted((s for s in slices if s.slice == recipe.place), key=lambda found: -found.mae)[:3]
    return Evaluation(len(predicted), metrics, tuple(slices), tuple(worst))


def _covered(predicted: pd.DataFrame) -> np.ndarray:
    return predicted["actual"].between(predicted["low"], predicted["high"]).to_numpy(np.float64)


def _by_group(predicted: pd.DataFrame, name: str, values: pd.Series) -> list[SliceScore]:
    error = predicted["predicted"] - predicted["actual"]
    rows = pd.DataFrame(
        {
            "mae": error.abs(),
            "baseline_mae": (predicted["baseline"] - predicted["actual"]).abs(),
            "bias": error,
            "coverage": _covered(predicted),
        }
    )
    groups = rows.groupby(values.to_numpy(), sort=True)
    means, sizes = groups.mean(), groups.size()
    return [
        SliceScore(name, str(value), int(sizes[value]), **{k: float(v) for k, v in means.loc[value].items()})
        for value in means.index
    ]
