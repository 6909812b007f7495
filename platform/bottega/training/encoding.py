"""Target encoding of a pair of ids: what a trip between two zones usually takes, on a logarithmic scale.

The estimate of a pair is its mean log label, drawn towards a prior by the rows that it lacks. The prior is additive: an
overall level, an effect of each id, and a curve of one covariate (the distance), so that a pair that was never seen
still gets a sensible value.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bottega.features.tables import Table

LOG_MEAN: Final = "log_mean"
LOG_ROWS: Final = "log_rows"
LOG_SPREAD: Final = "log_spread"
_PRIOR_SPREAD = 0.4


@dataclass(frozen=True)
class PairEncoding:
    """How a pair is encoded: into which table of the plan, by which two keys, with which covariate for the prior.

    `smoothing` and `id_smoothing` are the rows that a pair's and an id's prior count for. The table has the columns
    `log_mean`, `log_rows` (log of 1 + rows) and `log_spread` (standard deviation of the log label).
    """

    table: str
    keys: tuple[str, str]
    covariate: str
    smoothing: float = 10.0
    id_smoothing: float = 20.0
    curve_bins: int = 40
    sweeps: int = 3


@dataclass(frozen=True)
class Pairs:
    """Rows to encode: two id columns (rows,), the covariate (rows,) and the log label (rows,)."""

    first: np.ndarray
    second: np.ndarray
    covariate: np.ndarray
    log_label: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pairs":
        """The chosen rows."""
        return Pairs(self.first[chosen], self.second[chosen], self.covariate[chosen], self.log_label[chosen])


@dataclass(frozen=True)
class Grid:
    """All pairs of ids below `sizes`, row by row, with the covariate of each, NaN where it is not known."""

    sizes: tuple[int, int]
    covariate: np.ndarray


def fit_encoding(pairs: Pairs, grid: Grid, settings: PairEncoding) -> Table:
    """The encoding of every pair of the grid."""
    size = grid.sizes[0] * grid.sizes[1]
    key = pairs.first.astype(np.int64) * grid.sizes[1] + pairs.second
    prior = _prior(pairs, grid, settings)  # (size,)
    rows = np.bincount(key, minlength=size)
    total = np.bincount(key, pairs.log_label, minlength=size)
    mean = (total + settings.smoothing * prior) / (rows + settings.smoothing)
    squares = np.bincount(key, (pairs.log_label - mean[key]) ** 2, minlength=size)
    variance = (squares + settings.smoothing * _PRIOR_SPREAD**2) / (rows + settings.smoothing)
    columns = {LOG_MEAN: mean, LOG_ROWS: np.log1p(rows), LOG_SPREAD: np.sqrt(variance)}
    return Table.from_keys(np.divmod(np.arange(size), grid.sizes[1]), columns, sizes=grid.sizes)


def _prior(pairs: Pairs, grid: Grid, settings: PairEncoding) -> np.ndarray:
    """Level + effect of the first id + effect of the second + curve of the covariate, by backfitting: (size,)."""
    known = pairs.covariate[~np.isnan(pairs.covariate)]
    steps = np.linspace(0, 1, settings.curve_bins + 1)[1:-1]
    edges = np.unique(np.quantile(known, steps)) if len(known) else np.zeros(0)
    bins = len(edges) + 2  # the last one for an unknown covariate

    def bin_of(covariate: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(covariate), bins - 1, np.searchsorted(edges, covariate, side="right"))

    at, first, second = bin_of(pairs.covariate), pairs.first.astype(np.int64), pairs.second.astype(np.int64)
    level = pairs.log_label.mean()
    centred = pairs.log_label - level
    curve, of_first, of_second = np.zeros(bins), np.zeros(grid.sizes[0]), np.zeros(grid.sizes[1])
    for _ in range(settings.sweeps):
        curve = _shrunk(at, centred - of_first[first] - of_second[second], bins, 5.0)
        of_first = _shrunk(first, centred - curve[at] - of_second[second], grid.sizes[0], settings.id_smoothing)
        of_second = _shrunk(second, centred - curve[at] - of_first[first], grid.sizes[1], settings.id_smoothing)
    effects = of_first[:, None] + of_second[None, :]  # (sizes[0], sizes[1])
    return level + effects.ravel() + curve[bin_of(grid.covariate)]


def _shrunk(index: np.ndarray, values: np.ndarray, size: int, smoothing: float) -> np.ndarray:
    """The mean of the values at each index, drawn towards 0 by `smoothing` rows."""
    return np.bincount(index, values, minlength=size) / (np.bincount(index, minlength=size) + smoothing)
