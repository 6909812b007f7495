"""How good a ranking is: whether the choice stands in the first ten, how high, and what else the first ten show."""

import numpy as np

SHOWN = 10


def ranks(scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen item's place, from 1, in each row of scores (rows, items); of equal scores the lower id stands first.

    >>> ranks(np.array([[0.2, 0.5, 0.5]]), np.array([2]))
    array([2])
    """
    own = scores[np.arange(len(chosen)), chosen][:, None]
    earlier = np.arange(scores.shape[1]) < chosen[:, None]
    return 1 + np.count_nonzero((scores > own) | ((scores == own) & earlier), axis=1)


def shown(scores: np.ndarray, count: int = SHOWN) -> np.ndarray:
    """The best items of each row, best first, of equal scores the lower id first: (rows, count) int64."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def hit_at(places: np.ndarray, count: int = SHOWN) -> float:
    """The share of rows whose choice stands in the first `count`."""
    return float(np.mean(places <= count))


def mrr_at(places: np.ndarray, count: int = SHOWN) -> float:
    """The mean of 1 / place, 0 for a choice that is not in the first `count`."""
    return float(np.mean(np.where(places <= count, 1 / places, 0.0)))


def beyond_accuracy(items: np.ndarray, popularity: np.ndarray) -> dict[str, float]:
    """What the lists (rows, shown) show of all items, whose share of choices is `popularity` (items,).

    `coverage` is the share of items that some list shows, `novelty_bits` the mean surprise of a shown item by its
    popularity, `popularity_bias` the mean popularity of what is shown over that of an item at random (1: no bias),
    `gini` how unequally the places are given to items (0: equally).
    """
    share = popularity / popularity.sum()
    places = np.sort(np.bincount(items.ravel(), minlength=len(share)))
    order = np.arange(1, len(places) + 1)
    return {
        "coverage": float(np.mean(places > 0)),
        "novelty_bits": float(-np.log2(share[items] + 1e-12).mean()),
        "popularity_bias": float(share[items].mean() * len(share)),
        "gini": float((2 * order - len(places) - 1) @ places / (len(places) * places.sum())),
    }
