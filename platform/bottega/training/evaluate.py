"""Evaluation: a package's answers against the labels, over all rows and by slice, beside the baseline's."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.features.plan import check_request
from bottega.training.baseline import predict_baseline
from bottega.training.examples import Examples
from bottega.training.lateness import Lateness
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference
from bottega.training.residual import ResidualRecipe

BASELINE_TABLE = "baseline"
WORST = 3


class SliceScore(msgspec.Struct, frozen=True):
    """The error of one group of rows: `slice` says by what they were grouped, `value` which group."""

    slice: str
    value: str
    rows: int
    mae: float
    baseline_mae: float
    bias: float
    coverage: float


class Evaluation(msgspec.Struct, frozen=True):
    """Metrics over all rows (names carry the unit), the score of each group with enough rows, and the worst of them.

    `worst` are the groups with the greatest error, `least_covered` those whose interval holds the fewest labels.
    """

    rows: int
    metrics: dict[str, float]
    slices: tuple[SliceScore, ...]
    worst: tuple[SliceScore, ...]
    least_covered: tuple[SliceScore, ...] = ()


def predict_examples(
    package: ModelPackage, recipe: ResidualRecipe, examples: Examples, threads: int = 1
) -> pd.DataFrame:
    """The reference's answers, one row an example: at, label_at (UTC), actual, predicted, low, high, baseline, router.

    The router's answer is NaN where it knows none.
    Raises InvalidInput for a request that the package's schema refuses, such as an unknown id.
    """
    check_request(package.info.plan, examples.request, package.tables)
    ready = Reference(package, threads=threads).columns(examples.request, examples.given)
    target = recipe.target
    keys = [examples.request[key] for key in recipe.encoding.keys]
    return pd.DataFrame(
        {
            "at": pd.to_datetime(examples.at_us, unit="us", utc=True),
            "label_at": pd.to_datetime(examples.label_at_us, unit="us", utc=True),
            "actual": examples.label,
            "predicted": ready[target.answer],
            "low": ready[target.low],
            "high": ready[target.high],
            "baseline": predict_baseline(package.tables[BASELINE_TABLE], keys),
            "router": recipe.routed_minutes(package.tables, examples.request),
        }
    )


def score(
    predicted: pd.DataFrame,
    unit: str,
    slices: Mapping[str, np.ndarray],
    lateness: Lateness | None = None,
    minimum_rows: int = 200,
) -> Evaluation:
    """The evaluation of answers that `predict_examples` gave; groups under `minimum_rows` rows are left out."""
    if predicted.empty:
        raise InvalidInput("There is no row to evaluate.", next_step="Choose another span or file.")
    error = (predicted["predicted"] - predicted["actual"]).to_numpy()
    baseline_error = (predicted["baseline"] - predicted["actual"]).to_numpy()
    router_error = (predicted["router"] - predicted["actual"]).dropna().to_numpy()
    metrics = {
        f"mae_{unit}": float(np.abs(error).mean()),
        f"baseline_mae_{unit}": float(np.abs(baseline_error).mean()),
        f"p90_abs_error_{unit}": float(np.quantile(np.abs(error), 0.9)),
        "coverage_80": float(_covered(predicted).mean()),
        f"bias_{unit}": float(error.mean()),
        f"interval_width_{unit}": float((predicted["high"] - predicted["low"]).mean()),
    }
    if lateness is not None:
        metrics |= lateness.measure(error, unit)
    if len(router_error):
        metrics[f"router_mae_{unit}"] = float(np.abs(router_error).mean())
    rows = pd.DataFrame(
        {
            "mae": np.abs(error),
            "baseline_mae": np.abs(baseline_error),
            "bias": error,
            "coverage": _covered(predicted),
        }
    )
    scores = [found for name, values in slices.items() for found in _by_group(rows, name, values, minimum_rows)]
    worst = sorted(scores, key=lambda found: -found.mae)[:WORST]
    least_covered = sorted(scores, key=lambda found: found.coverage)[:WORST]
    return Evaluation(len(predicted), metrics, tuple(scores), tuple(worst), tuple(least_covered))


def evaluate_package(
    package: ModelPackage, recipe: ResidualRecipe, examples: Examples, threads: int = 1, minimum_rows: int = 200
) -> Evaluation:
    """Score a package on examples."""
    predicted = predict_examples(package, recipe, examples, threads)
    return score(predicted, recipe.target.unit, examples.slices, recipe.lateness, minimum_rows)


def _covered(predicted: pd.DataFrame) -> np.ndarray:
    """Whether the interval holds the label: (rows,) float64."""
    return predicted["actual"].between(predicted["low"], predicted["high"]).to_numpy(np.float64)


def _by_group(rows: pd.DataFrame, name: str, values: np.ndarray, minimum_rows: int) -> Sequence[SliceScore]:
    groups = rows.groupby(np.asarray(values), sort=True)
    means, sizes = groups.mean(), groups.size()
    return [
        SliceScore(name, str(value), int(sizes[value]), **{k: float(v) for k, v in means.loc[value].items()})
        for value in means.index
        if sizes[value] >= minimum_rows
    ]
