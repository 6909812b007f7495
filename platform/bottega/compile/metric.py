"""The metric that a cheaper form of a model is judged by: a number from the model's outputs on labelled rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bottega.errors import InvalidInput

Arrays = Mapping[str, np.ndarray]
"""Named tensors, the rows along the first axis of each."""


@dataclass(frozen=True)
class Metric:
    """`of` gives the value for a model's outputs by name; `name` carries the unit."""

    name: str
    of: Callable[[Arrays], float]
    higher_is_better: bool = False

    def loss(self, before: float, after: float) -> float:
        """How much worse `after` is, relative to `before`; absolute where `before` is 0.

        >>> Metric("auc", lambda outputs: 0.0, higher_is_better=True).loss(0.8, 0.6)
        0.25
        """
        worse = before - after if self.higher_is_better else after - before
        return round(worse / (abs(before) or 1.0), 12)


def mean_abs_error(label: np.ndarray, unit: str = "", output: str | None = None) -> Metric:
    """Of a regression: `label` (rows,), in `unit`; NaN where it is not known."""
    name, known = f"mae_{unit}" if unit else "mae", ~np.isnan(label)
    return Metric(name, lambda outputs: float(np.abs(_column(outputs, output) - label)[known].mean()))


def accuracy(label: np.ndarray, output: str | None = None) -> Metric:
    """Of a classifier: `label` (rows,) whole numbers, the output (rows, classes) scores."""

    def of(outputs: Arrays) -> float:
        return float((_named(outputs, output).argmax(1) == label).mean())

    return Metric("accuracy", of, higher_is_better=True)


def area_under_curve(label: np.ndarray, output: str | None = None) -> Metric:
    """Of a score for yes or no: `label` (rows,) 0 or 1, the output (rows,), (rows, 1), or (rows, 2) with yes last."""
    from sklearn.metrics import roc_auc_score

    def of(outputs: Arrays) -> float:
        scores = _named(outputs, output)
        return float(roc_auc_score(label, scores.reshape(len(scores), -1)[:, -1]))

    return Metric("auc", of, higher_is_better=True)


def hit_rate(label: np.ndarray, k: int = 10, output: str | None = None) -> Metric:
    """Of a ranking: the share of rows whose item `label` (rows,) is among the first k.

    The output is (rows, items): ids, best first, where it is of whole numbers, else a score for each item.
    """

    def of(outputs: Arrays) -> float:
        found = _named(outputs, output)
        best = found[:, :k] if found.dtype.kind in "iu" else np.argsort(-found, axis=1, kind="stable")[:, :k]
        return float((best == np.asarray(label)[:, None]).any(1).mean())

    return Metric(f"hit@{k}", of, higher_is_better=True)


def distance_from(answers: Arrays) -> Metric:
    """Where there are no labels: the root mean square difference from float32's `answers`, relative to their size."""

    def of(outputs: Arrays) -> float:
        floats = [name for name, answer in answers.items() if answer.dtype.kind == "f"]
        size = sum(float((answers[name].astype(np.float64) ** 2).sum()) for name in floats)
        away = sum(float(((outputs[name].astype(np.float64) - answers[name]) ** 2).sum()) for name in floats)
        return float(np.sqrt(away / size)) if size else 0.0

    return Metric("relative_rms_difference", of)


def _named(outputs: Arrays, name: str | None) -> np.ndarray:
    """The output of that name, or the only one."""
    chosen = next(iter(outputs)) if name is None and len(outputs) == 1 else name
    if chosen is None or chosen not in outputs:
        raise InvalidInput(f"The metric is of the output {name!r}; the model has {', '.join(outputs)}.")
    return outputs[chosen]


def _column(outputs: Arrays, name: str | None) -> np.ndarray:
    """The output as (rows,)."""
    found = _named(outputs, name)
    return found.reshape(len(found))
