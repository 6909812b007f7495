"""How well each place answers a text: by words, by meaning, and fused."""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bottega.ranking.fusion import best_first, fuse
from bottega.ranking.spelling import Reading

NEAREST, ALIKE = 200, 0.3
"""At most so many places are found by meaning, each with at least this cosine."""
MEANING = 0.35
"""What a rank by meaning counts beside a rank by words, where the whole text has a meaning."""
STEEPNESS = 10
"""The constant of the fusion; less than the usual 60, so that the place of a given name stays first."""


@dataclass(frozen=True)
class Scores:
    """The parts of the answer to one text; every array is (places,)."""

    words: int
    """How many words the text has."""
    points: Mapping[tuple[Reading, str], np.ndarray]
    """BM25's points of each reading of a word in each field."""
    likeness: np.ndarray | None
    """Cosine of meaning; None where no word of the text has one."""
    understood: float
    """The share of the text, 0 to 1, that has a meaning: a place's name mostly has none."""
    places: int

    @functools.cached_property
    def by_words(self) -> np.ndarray:
        """A word counts where it says most (its best reading in its best field); a place with half of the words gets a
        sixteenth of their points: having every word comes before having a rare one."""
        best: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(self.places))
        for (reading, _), points in self.points.items():
            best[reading.typed] = np.maximum(best[reading.typed], points)
        if not best:
            return np.zeros(self.places)
        table = np.stack(list(best.values()))  # (words that somebody has, places)
        return table.sum(axis=0) * ((table > 0).sum(axis=0) / self.words) ** 4

    def rankings(self, passes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places that pass, best first, by words and by meaning."""
        by_words = best_first(np.where(passes, self.by_words, 0.0))
        if self.likeness is None:
            return by_words, by_words[:0]
        return by_words, best_first(np.where(passes, self.likeness, 0.0), ALIKE)[:NEAREST]

    def fused(self, rankings: Sequence[np.ndarray]) -> np.ndarray:
        """One score from both rankings; meaning counts by the square of the text's share that has one."""
        return fuse(rankings, (1.0, MEANING * self.understood**2), self.places, STEEPNESS)
