"""How well each place answers a text: by words, by meaning, and fused."""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bottega.ranking.fusion import best_first, fuse
from bottega.ranking.space import Meaning
from bottega.ranking.spelling import Reading

ALIKE = 0.3
"""The cosine from which on a place counts as found by its meaning alone."""
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
    meaning: Meaning | None
    """None where no word of the text has one."""
    likeness: np.ndarray | None
    """Cosine of each place with the meaning."""
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

    @property
    def reached(self) -> np.ndarray:
        """Which places have a word of the text, or are alike enough: (places,) bool."""
        by_words = self.by_words > 0
        return by_words if self.likeness is None else by_words | (self.likeness > ALIKE)

    def rankings(self, passes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places that pass, best first, by words and by meaning."""
        by_words = best_first(np.where(passes, self.by_words, 0.0))
        if self.likeness is None:
            return by_words, by_words[:0]
        return by_words, best_first(np.where(passes, self.likeness, 0.0), ALIKE)

    def fused(self, rankings: Sequence[np.ndarray]) -> np.ndarray:
        """One score from both rankings; meaning counts by the square of the share of the text that has one."""
        understood = 0.0 if self.meaning is None else self.meaning.understood
        return fuse(rankings, (1.0, MEANING * understood**2), self.places, STEEPNESS)
