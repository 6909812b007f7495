"""The promotion gate: a candidate goes live only where it beats what there is, on a period that it has not seen."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from bottega.errors import GateFailed
from bottega.times import to_epoch_us
from bottega.training.evaluate import predict_examples
from bottega.training.examples import Examples
from bottega.training.package import ModelPackage, Trained
from bottega.training.residual import ResidualRecipe

MINIMUM_ROWS = 500
_ROUNDING = 1e-9  # two equal models may differ by the order of a sum


@dataclass(frozen=True)
class Gate:
    """What a candidate must beat, by the share `margin`: the champion and the baseline, in mean absolute error."""

    margin: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Whether the candidate may be promoted, and why or why not."""

    passed: bool
    reason: str


@dataclass(frozen=True)
class Rival:
    """The present champion on the gate's period.

    `rows` (held-back rows,) marks those that it was compared on, `mae` is its loss there; `remark` says where the
    comparison needs one. `is_same` where it was trained on the candidate's own data: to equal it is enough then.
    """

    mae: float
    rows: np.ndarray
    remark: str = ""
    is_same: bool = False


def find_rival(champion: ModelPackage, trained: Trained, recipe: ResidualRecipe, held: Examples) -> Rival | None:
    """The champion's error on the held-back rows; None where it can answer none of them.

    Rows that the champion has learned from flatter it, so it is compared on the others where they suffice. A champion
    that was trained on the very same data is taken by the error of its own gate, which was measured on these rows.
    """
    own = champion.info.trained
    if (own.since, own.until, own.fingerprint) == (trained.since, trained.until, trained.fingerprint):
        mae = champion.info.metrics[f"mae_{recipe.target.unit}"]
        return Rival(mae, np.ones(len(held), bool), "The champion was trained on the same data.", True)
    answerable = _answerable(champion, held)
    learned = (held.at_us >= _epoch_us(own.since)) & (held.at_us < _epoch_us(own.until))
    rows, remark = answerable & ~learned, ""
    if rows.sum() < MINIMUM_ROWS:
        rows, remark = answerable, "The champion has learned from this period, which flatters it."
    if not rows.any():
        return None
    answers = predict_examples(champion, recipe, held.where(rows))
    return Rival(float((answers["predicted"] - answers["actual"]).abs().mean()), rows, remark)


def decide(gate: Gate, unit: str, candidate: pd.DataFrame, rival: Rival | None) -> Decision:
    """Whether the candidate errs less than the baseline on all held-back rows, and than the rival on the rival's.

    `candidate` has its answers on the held-back rows: actual, predicted, baseline.
    """
    error = (candidate["predicted"] - candidate["actual"]).abs().to_numpy()
    baseline = float((candidate["baseline"] - candidate["actual"]).abs().mean())
    if rival is None:
        return judge(gate, unit, float(error.mean()), baseline)
    return judge(gate, unit, float(error.mean()), baseline, rival, float(error[rival.rows].mean()))


def judge(
    gate: Gate, unit: str, loss: float, baseline: float, rival: Rival | None = None, against: float | None = None
) -> Decision:
    """Whether a candidate's `loss` on the held-back rows is less than the baseline's, and than the rival's.

    `against` is the candidate's loss on the rival's rows, where these are fewer. Less is better, in `unit`.
    """
    found = [_compare(gate, unit, "baseline", loss, baseline)]
    if rival is not None:
        own = loss if against is None else against
        won, reason = _compare(gate, unit, "champion", own, rival.mae)
        found.append((won or (rival.is_same and own <= rival.mae * (1 + _ROUNDING)), reason))
    lost = [reason for won, reason in found if not won]
    remark = f" {rival.remark}" if rival is not None and rival.remark else ""
    return Decision(not lost, " ".join(lost or [reason for _, reason in found]) + remark)


def _compare(gate: Gate, unit: str, name: str, candidate: float, other: float) -> tuple[bool, str]:
    wanted = f", and must be better by {gate.margin:.1%}" if gate.margin else ""
    reason = f"The candidate errs by {candidate:.3f} {unit}, the {name} by {other:.3f} {unit}{wanted}."
    return candidate < other * (1 - gate.margin) * (1 - _ROUNDING), reason


def _answerable(champion: ModelPackage, held: Examples) -> np.ndarray:
    """The rows whose ids the champion knows: (rows,) bool."""
    known = np.ones(len(held), bool)
    for field in champion.info.plan.request:
        if field.known_in:
            known &= champion.tables[field.known_in].entries([held.request[field.name]])[1]
    return known


def _epoch_us(moment: str) -> int:
    return to_epoch_us(datetime.fromisoformat(moment))


def require(decision: Decision) -> None:
    """Raise GateFailed with the reason where the gate did not open."""
    if not decision.passed:
        raise GateFailed(
            f"The promotion gate stays closed. {decision.reason}",
            next_step="The champion stays; train on a newer or longer span.",
        )
