"""Triage: the thresholds between what a machine decides and what a person sees, from errors on held-out rows.

Conformal risk control (Angelopoulos et al., 2022): with k errors among n held-out rows, a threshold is safe at the rate
alpha where (k + 1) / (n + 1) <= alpha; a new row like them is then decided wrongly with at most that chance.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Triage:
    """`accept` from one probability on, `reject` below another; None where no threshold is safe."""

    accept_from: float | None
    reject_below: float | None


NOBODY = Triage(None, None)
"""A person sees everything."""


def fit_triage(
    probability: np.ndarray, label: np.ndarray, wrong_accept: float | None, wrong_reject: float | None
) -> Triage:
    """Thresholds such that at most `wrong_accept` of the rows with label 0 are accepted, and at most `wrong_reject` of
    those with label 1 rejected; probabilities (rows,) are of rows that the model did not learn from. A probability
    above 0.5 is never rejected, one below it never accepted. Without a rate nothing is decided that way.
    """
    accept = _safe(probability[label == 0], wrong_accept)
    reject = _safe(1 - probability[label == 1], wrong_reject)
    return Triage(
        None if accept is None else max(accept, 0.5),
        None if reject is None else min(1 - reject, 0.5),
    )


def _safe(wrong: np.ndarray, rate: float | None) -> float | None:
    """The smallest threshold that so few of the `wrong` scores reach; None where there are too few of them to know."""
    if rate is None:
        return None
    allowed = int(np.floor(rate * (len(wrong) + 1))) - 1  # k
    if allowed < 0:
        return None
    ordered = np.sort(wrong)[::-1]
    return float(np.nextafter(ordered[allowed], 2)) if allowed < len(ordered) else 0.0


def decided(probability: np.ndarray, triage: Triage) -> np.ndarray:
    """Which rows a machine decides: (rows,) bool."""
    accept = probability >= (np.inf if triage.accept_from is None else triage.accept_from)
    reject = probability < (-np.inf if triage.reject_below is None else triage.reject_below)
    return accept | reject


def error_at(probability: np.ndarray, label: np.ndarray, share: float) -> float:
    """The share of errors among the `share` of rows whose probability is farthest from 0.5."""
    surest = np.argsort(-np.abs(probability - 0.5), kind="stable")[: max(1, round(share * len(label)))]
    return float(np.mean((probability[surest] > 0.5) != (label[surest] == 1)))
