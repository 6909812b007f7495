"""Lateness: a car that comes later than it was promised costs more than one that comes early."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lateness:
    """By how much one must be late, in the label's unit, before it counts, and what a late unit costs in early ones."""

    tolerance: float
    weight: float

    def measure(self, error: np.ndarray, unit: str) -> dict[str, float]:
        """The shares of answers (rows,) that were late and early by more than the tolerance, and the mean cost.

        `error` is answer minus truth: below 0 the truth came late. The least cost is that of the quantile
        weight / (weight + 1), not that of the median: 2 to 1 asks for an answer that two of three trips beat.
        """
        cost = np.where(error < 0, -self.weight * error, error)
        return {
            f"late_over_{self.tolerance:g}_{unit}": float((error < -self.tolerance).mean()),
            f"early_over_{self.tolerance:g}_{unit}": float((error > self.tolerance).mean()),
            f"cost_late_{self.weight:g}_to_1_{unit}": float(cost.mean()),
        }
