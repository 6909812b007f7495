"""Reciprocal rank fusion: several rankings become one, without comparing their scores.

Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"
(2009), from which the constant 60 comes too.
"""

from collections.abc import Sequence

import numpy as np

CONSTANT = 60


def fuse(rankings: Sequence[np.ndarray], weights: Sequence[float], size: int, constant: float = CONSTANT) -> np.ndarray:
    """The fused score of each of `size` things: the sum of weight / (60 + rank); 0 for one that no ranking holds.

    rankings: the things' numbers, best first.

    >>> fuse([np.array([2, 0]), np.array([0])], [1.0, 1.0], 3).round(4).tolist()
    [0.0325, 0.0, 0.0164]
    """
    scores = np.zeros(size)
    for ranking, weight in zip(rankings, weights, strict=True):
        scores[ranking] += weight / (constant + np.arange(1, len(ranking) + 1))
    return scores


def best_first(scores: np.ndarray, above: float = 0.0) -> np.ndarray:
    """The numbers of the scores greater than `above`, best first, ties by number."""
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] > above]
