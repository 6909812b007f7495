"""Skew: whether the server answers with the features that training would have seen.

Two questions that are often mixed up. *Exact*: is each logged value the one that the training set would hold for the
same request? A difference is a defect. *Drift*: are the values distributed as in training? A difference is the world's
or the traffic's, and no defect of the features.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd

LEAST_ROWS = 30
"""Fewer values than this have no distribution worth comparing."""


class Spread(msgspec.Struct, frozen=True):
    """How a feature's values are spread; `mean` is None where every value is null."""

    rows: int
    null_share: float
    mean: float | None


class FirstDifference(msgspec.Struct, frozen=True):
    """The first request whose logged value is not the offline one (None: null)."""

    request_id: str
    served: float | None
    offline: float | None


class FeatureSkew(msgspec.Struct, frozen=True):
    """One looked-up feature: exact differences, and how far its distribution lies from training's.

    `distance` is the two-sample Kolmogorov-Smirnov statistic of the values that are not null: 0 where the two
    distributions are the same, 1 where they do not overlap; None where either has fewer than `LEAST_ROWS` of them.
    """

    feature: str
    values: int
    mismatches: int
    first_mismatch: FirstDifference | None
    served: Spread
    trained: Spread
    distance: float | None


def skew(
    served: pd.DataFrame, offline: pd.DataFrame, trained: pd.DataFrame, features: Sequence[str]
) -> tuple[FeatureSkew, ...]:
    """Compare features as served with those of the same requests offline, and with those of the training rows.

    `served` and `offline` have the same rows, `served` the request ids as its index; all hold the features' columns.
    """
    return tuple(_skew(name, served[name], offline[name], trained[name]) for name in features)


def _skew(name: str, served: pd.Series, offline: pd.Series, trained: pd.Series) -> FeatureSkew:
    one, other, third = (column.to_numpy(np.float64, na_value=np.nan) for column in (served, offline, trained))
    differ = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    first = None
    if differ.any():
        row = int(np.argmax(differ))
        first = FirstDifference(str(served.index[row]), _known(one[row]), _known(other[row]))
    return FeatureSkew(name, len(one), int(differ.sum()), first, _spread(one), _spread(third), _distance(one, third))


def _spread(values: np.ndarray) -> Spread:
    known = values[~np.isnan(values)]
    share = 1 - len(known) / len(values) if len(values) else 0.0
    return Spread(len(values), share, float(known.mean()) if len(known) else None)


def _distance(one: np.ndarray, other: np.ndarray) -> float | None:
    from scipy.stats import ks_2samp

    known = [values[~np.isnan(values)] for values in (one, other)]
    if min(map(len, known)) < LEAST_ROWS:
        return None
    return float(ks_2samp(*known, method="asymp").statistic)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
