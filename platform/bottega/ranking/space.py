"""The space of meanings as search reads it: words have directions, places are points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Meaning:
    """A direction of length 1, (dimensions,), and which share of the query it stands for.

    The share (0 to 1) is that of the words' rarity; a word without a meaning counts as rare as can be.
    """

    direction: np.ndarray
    understood: float


class Space:
    """The words that have a meaning, the map of queries, and the places' points; all of length 1 after mapping."""

    def __init__(self, vocabulary: Sequence[str], rarity: np.ndarray, mapping: np.ndarray, points: np.ndarray) -> None:
        self.vocabulary = tuple(vocabulary)
        self.rarity = rarity  # (words,) float32
        self.mapping = mapping  # (words, dimensions) float32
        self.points = points  # (places, dimensions) float32
        self._place = {word: index for index, word in enumerate(self.vocabulary)}

    def meaning(self, words: Mapping[str, float]) -> "Meaning | None":
        """What a query of weighted words means; None where no word has a meaning here."""
        query = np.zeros(len(self.vocabulary), np.float32)
        for word, weight in words.items():
            if word in self._place:
                query[self._place[word]] += weight * self.rarity[self._place[word]]
        direction = query @ self.mapping
        length = float(np.linalg.norm(direction))
        if length == 0:
            return None
        unknown = sum(weight for word, weight in words.items() if word not in self._place) * self.rarity.max()
        return Meaning(direction / length, float(query.sum() / (query.sum() + unknown)))
