"""Judging a new order of lists by clicks on the old one: what stood high was clicked because it was seen.

The worth of an order is the sum over liked restaurants of 1 / log2(1 + place), the mean of it over lists. Counting
clicks instead of likes favours the order that was shown. Weighing each click by the inverse of the attention to its
place sets that right (Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", 2017).
"""

from dataclasses import dataclass

import numpy as np

from bottega.datasets.impressions import Impressions
from bottega.errors import InvalidInput


@dataclass(frozen=True)
class Worth:
    """The mean worth of an order a list: as clicks say, as clicks weighed by attention say, and in truth."""

    naive: float
    weighed: float
    true: float


def judge_order(log: Impressions, scores: np.ndarray, attention: np.ndarray) -> Worth:
    """What the order of `scores` (lists, shown) is worth, by a log; `attention` (shown,) as known or estimated.

    Raises InvalidInput for attention that is not above 0.
    """
    if (attention <= 0).any():
        raise InvalidInput("Attention to a place is 0 or less.", next_step="Leave places out that nobody looks at.")
    order = np.argsort(-scores, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    gain = 1 / np.log2(2 + place)
    naive = (gain * log.clicked).sum(1).mean()
    weighed = (gain * log.clicked / attention).sum(1).mean()
    return Worth(float(naive), float(weighed), float((gain * log.liked).sum(1).mean()))


def estimate_attention(log: Impressions) -> np.ndarray:
    """The attention to each place over that to the first one, from lists in random order: (shown,) float64.

    In these every place holds equally good restaurants, so clicks differ by attention alone. Raises InvalidInput where
    too few lists were shuffled.
    """
    clicks = log.clicked[log.shuffled].sum(0)
    if len(clicks) == 0 or clicks.min() < 30:
        raise InvalidInput(
            f"{np.count_nonzero(log.shuffled)} lists in random order have places with fewer than 30 clicks.",
            next_step="Show more lists in random order.",
        )
    return clicks / clicks[0]
