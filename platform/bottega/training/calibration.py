"""Calibration: a score becomes a probability that means what it says (Platt, "Probabilistic Outputs for Support Vector
Machines", 1999), and how far from that it is.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize


@dataclass(frozen=True)
class Calibration:
    """probability = 1 / (1 + exp(-(slope * score + shift)))."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities of scores, of the same shape."""
        return 1 / (1 + np.exp(-(self.slope * score + self.shift)))


def fit_calibration(score: np.ndarray, label: np.ndarray) -> Calibration:
    """The calibration of largest likelihood for scores (rows,) of pictures that the model did not learn from, and their
    labels 0 or 1; Platt's targets, a little off 0 and 1, keep it finite where the classes separate.
    """
    ones = label.sum()
    target = np.where(label == 1, (ones + 1) / (ones + 2), 1 / (len(label) - ones + 2))

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        z = at[0] * score + at[1]
        slip = 1 / (1 + np.exp(-z)) - target
        return float(np.mean(np.logaddexp(0, z) - target * z)), np.array([np.mean(slip * score), np.mean(slip)])

    found = scipy.optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]
    )
    return Calibration(float(found.x[0]), float(found.x[1]))


def calibration_error(probability: np.ndarray, label: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: the mean gap between what is said and what happened, over `bins` equal intervals."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [abs(probability[place == i].sum() - label[place == i].sum()) for i in range(bins)]
    return float(sum(gaps) / len(label))
