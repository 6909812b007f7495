"""Lists that Saltmere's visitors were shown, and what they clicked: seen is not liked; the truth of both is known."""

from dataclasses import dataclass

import numpy as np

from bottega.datasets.eats import build_visitors

SHUFFLED = 0.1
"""The share of lists in random order, from which the attention to each place can be learned."""
FADING = 0.8
"""Attention to place k is 1 / k ** FADING."""


@dataclass(frozen=True)
class Impressions:
    """Lists as they were shown, one row a list.

    `liked` and `attention` are the truth that a log does not have: a restaurant is clicked where it is looked at and
    liked.
    """

    visitor: np.ndarray  # (lists,) int64
    items: np.ndarray  # (lists, shown) int64, in the order shown
    clicked: np.ndarray  # (lists, shown) bool
    shuffled: np.ndarray  # (lists,) bool: in random order
    liked: np.ndarray  # (lists, shown) float64: how probable it is that the visitor likes it
    attention: np.ndarray  # (shown,) float64: how probable it is that a place is looked at


def simulate_impressions(seed: int, scores: np.ndarray, lists: int = 20_000, shown: int = 10) -> Impressions:
    """Show visitors drawn at random `shown` restaurants, drawn at random, in the order of `scores` (restaurants,)."""
    people = build_visitors(seed)
    rng = np.random.default_rng([seed, 14])
    visitor = rng.integers(len(people.utility), size=lists)
    items = rng.permuted(np.tile(np.arange(len(scores)), (lists, 1)), axis=1)[:, :shown]
    shuffled = rng.uniform(size=lists) < SHUFFLED
    order = np.where(shuffled[:, None], np.arange(shown), np.argsort(-scores[items], axis=1, kind="stable"))
    items = np.take_along_axis(items, order, axis=1)
    utility = people.utility[visitor]
    middle, spread = utility.mean(1, keepdims=True), utility.std(1, keepdims=True)
    standing = (np.take_along_axis(utility, items, axis=1) - middle) / spread
    liked = 1 / (1 + np.exp(-2.5 * (standing - 0.7)))
    attention = 1 / np.arange(1, shown + 1) ** FADING
    clicked = rng.uniform(size=items.shape) < liked * attention
    return Impressions(visitor, items, clicked, shuffled, liked, attention)
