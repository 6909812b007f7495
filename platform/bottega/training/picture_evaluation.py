"""Evaluation of verdicts on pictures: ranking, errors where the model is sure, wrong decisions, error by group."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from bottega.features.picture_step import Picture
from bottega.progress import Progress
from bottega.training.calibration import calibration_error
from bottega.training.evaluate import Evaluation, SliceScore
from bottega.training.package import ModelPackage
from bottega.training.picture_examples import PictureExamples, make_picture_examples
from bottega.training.picture_recipe import PictureRecipe
from bottega.training.reference import Reference
from bottega.training.triage import error_at

PART = 128
MINIMUM_GROUP = 30
WORST = 3
_TINY = 1e-6


def evaluate(
    package: ModelPackage, recipe: PictureRecipe, sources: Mapping[str, pd.DataFrame], progress: Progress
) -> Evaluation:
    """Score a package on labelled pictures: of each head whose source is there."""
    side = next(step.side for step in package.info.plan.steps if isinstance(step, Picture))
    examples = make_picture_examples(recipe, sources, side, progress)
    return score(recipe, examples, answer(package, recipe, examples, progress))


def answer(
    package: ModelPackage, recipe: PictureRecipe, examples: PictureExamples, progress: Progress
) -> dict[str, np.ndarray]:
    """Every column that the package makes of the pictures' bytes, but for the pixels: (rows,) each."""
    reference = Reference(package)
    wanted = [field.name for field in recipe.answer]
    parts = []
    for start in range(0, len(examples.contents), PART):
        column = np.empty(len(examples.contents[start : start + PART]), object)
        column[:] = examples.contents[start : start + PART]
        ready = reference.columns({recipe.picture: column})
        parts.append({name: ready[name] for name in wanted})
        progress("Evaluating", min(start + PART, len(examples.contents)), len(examples.contents))
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


def score(recipe: PictureRecipe, examples: PictureExamples, answers: Mapping[str, np.ndarray]) -> Evaluation:
    """The evaluation of answers: of each head over the rows whose label it has."""
    metrics: dict[str, float] = {}
    slices: list[SliceScore] = []
    for i, head in enumerate(recipe.heads):
        rows = examples.of_head(i)
        if not rows.any():
            continue
        label, said = examples.labels[rows, i], answers[head.probability][rows].astype(np.float64)
        metrics |= {f"{name}_{head.name}": value for name, value in measures(label, said).items()}
        metrics |= _decisions(head.name, label, answers[head.decision][rows])
        groups = examples.groups[rows].assign(brightness=_thirds(examples.quality["brightness"][rows]))
        slices += _by_group(head.name, label, said, groups)
    worst = sorted(slices, key=lambda found: -found.mae)[:WORST]
    return Evaluation(len(examples.contents), metrics, tuple(slices), tuple(worst))


def measures(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """What a probability (rows,) of label 1 is worth; a ranking only where both labels are there."""
    from sklearn.metrics import roc_auc_score

    found = {
        "accuracy": float(((probability > 0.5) == (label == 1)).mean()),
        "error_at_90": error_at(probability, label, 0.9),
        "log_loss": log_loss(label, probability),
        "calibration_error": calibration_error(probability, label),
    }
    if len(np.unique(label)) == 2:
        found = {"auc": float(roc_auc_score(label, probability)), **found}
    return found


def log_loss(label: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log likelihood of the labels, in nats."""
    said = np.clip(np.where(label == 1, probability, 1 - probability), _TINY, 1)
    return float(-np.log(said).mean())


def _decisions(name: str, label: np.ndarray, decision: np.ndarray) -> dict[str, float]:
    """The share that a machine decides, and the rates of wrong decisions among the pictures of each label."""
    wrong_accept = (decision == "accept")[label == 0]
    wrong_reject = (decision == "reject")[label == 1]
    return {
        f"decided_{name}": float((decision != "review").mean()),
        f"wrong_accept_{name}": float(wrong_accept.mean()) if len(wrong_accept) else 0.0,
        f"wrong_reject_{name}": float(wrong_reject.mean()) if len(wrong_reject) else 0.0,
    }


def _thirds(values: pd.Series) -> pd.Series:
    """Each value's third: what groups there are where a dataset names none."""
    return pd.cut(values.rank(method="first"), 3, labels=["dark", "middle", "bright"])


def _by_group(name: str, label: np.ndarray, probability: np.ndarray, groups: pd.DataFrame) -> Iterator[SliceScore]:
    """The errors of each group of enough pictures: `mae` and `bias` of the probability, `coverage` the share that is
    on the right side of 0.5.
    """
    base = label.mean()
    for column in groups:
        values = groups[column].astype(object).to_numpy()
        for value in sorted({one for one in values if isinstance(one, str)}):
            own = values == value
            if own.sum() < MINIMUM_GROUP:
                continue
            gap = probability[own] - label[own]
            right = (probability[own] > 0.5) == (label[own] == 1)
            yield SliceScore(
                f"{name} by {column}", value, int(own.sum()), float(np.abs(gap).mean()),
                float(np.abs(base - label[own]).mean()), float(gap.mean()), float(right.mean()),
            )  # fmt: skip
