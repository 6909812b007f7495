"""An 80 % interval around the answer, from the log residuals of rows that the model has not learned from.

The spread of a trip's duration depends mostly on how far it goes and when: the quantiles are taken by two bands, and a
cell with few rows leans on the whole first band, which leans on all rows. A conformal interval in spirit (Vovk et al.,
Algorithmic Learning in a Random World, 2005), by groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.features.tables import Table


@dataclass(frozen=True)
class IntervalSettings:
    """The plan's table of limits, the columns `low` and `high` that it gives, the coverage, the back-off in rows."""

    low: str
    high: str
    table: str = "interval"
    coverage: float = 0.8
    smoothing: float = 200.0


def fit_interval(
    bands: Sequence[np.ndarray], log_residual: np.ndarray, sizes: tuple[int, int], settings: IntervalSettings
) -> Table:
    """Limits by two bands: columns `low` (at most 0) and `high` (at least 0), to be added to the log of the answer.

    `bands` are two (rows,) columns of indices below `sizes`; `log_residual` (rows,) is log(label / answer).
    """
    tails = ((1 - settings.coverage) / 2, (1 + settings.coverage) / 2)
    overall = np.quantile(log_residual, tails)  # (2,)
    limits = np.empty((*sizes, 2))
    for first in range(sizes[0]):
        inside = bands[0] == first
        of_band = _leaning(log_residual[inside], overall, tails, settings.smoothing)
        for second in range(sizes[1]):
            cell = log_residual[inside & (bands[1] == second)]
            limits[first, second] = _leaning(cell, of_band, tails, settings.smoothing)
    low, high = limits.reshape(-1, 2).T
    columns = {"low": np.minimum(low, 0.0), "high": np.maximum(high, 0.0)}
    return Table.from_keys(np.divmod(np.arange(len(low)), sizes[1]), columns, sizes=sizes)


def _leaning(values: np.ndarray, towards: np.ndarray, tails: tuple[float, float], smoothing: float) -> np.ndarray:
    """The quantiles of the values, drawn towards others by `smoothing` rows: (2,)."""
    if not len(values):
        return towards
    return (len(values) * np.quantile(values, tails) + smoothing * towards) / (len(values) + smoothing)
