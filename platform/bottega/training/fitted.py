"""What every learner takes and gives, whatever its kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Rows to learn from: model inputs (rows, features) float32, the base (rows,) in log units, the label (rows,)."""

    features: np.ndarray
    base: np.ndarray
    label: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """What the model learns: log(label) - base, (rows,)."""
        return np.log(self.label) - self.base

    @property
    def weight(self) -> np.ndarray:
        """The estimated label, (rows,): an error of the logarithm weighs as much as it does in the label's unit."""
        return np.exp(self.base)

    def mean_abs_error(self, residual: np.ndarray) -> float:
        """Mean absolute error in the label's unit of predicted residuals (rows,)."""
        return float(np.abs(np.exp(self.base + residual) - self.label).mean())


@dataclass(frozen=True)
class Fitted:
    """A fitted model in its safe format, how long it learned (rounds or epochs), and its error after each one."""

    model: bytes
    length: int
    params: Mapping[str, float | int | str]
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
