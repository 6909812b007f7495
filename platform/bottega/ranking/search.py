"""Search over places: words and meaning, fused; filters; typos; facets; and why each hit is there."""

from collections.abc import Sequence

import msgspec
import numpy as np

from bottega.ranking.facets import Facets, is_open
from bottega.ranking.fusion import best_first
from bottega.ranking.lexical import LexicalIndex
from bottega.ranking.place import Place
from bottega.ranking.scores import ALIKE, Scores
from bottega.ranking.space import Meaning, Space
from bottega.ranking.spelling import Reading, read_word
from bottega.ranking.wishes import Wishes, check
from bottega.ranking.words import stems, words


class Match(msgspec.Struct, frozen=True):
    """A word of the query that stands in a place's field, and the points that BM25 gives for it."""

    word: str
    read_as: str
    field: str
    points: float


class Why(msgspec.Struct, frozen=True):
    """Why a place is a hit: its ranks (from 1; None: not found that way), words that match, cosine of meaning.

    `near` are those of the place's labels that are nearest to the text in meaning.
    """

    rank_by_words: int | None
    rank_by_meaning: int | None
    matches: tuple[Match, ...]
    likeness: float | None
    near: tuple[str, ...]


class Hit(msgspec.Struct, frozen=True):
    """A found place; `open` is None where no moment was asked about."""

    place: Place
    score: float
    open: bool | None
    why: Why


class Answer(msgspec.Struct, frozen=True):
    """Hits, best first. `found` counts all; `facets` count what each choice would leave, its own filter set aside.

    `corrections` are typed words that were read as others; `unknown_hours` counts places that were left out only
    because nobody knows their hours.
    """

    hits: tuple[Hit, ...]
    found: int
    facets: dict[str, dict[str, int]]
    corrections: dict[str, tuple[str, ...]]
    unknown_hours: int


class SearchIndex:
    """An index in memory; several threads may search it."""

    def __init__(
        self,
        places: Sequence[Place],
        vocabulary: dict[str, int],
        lexical: LexicalIndex,
        space: Space,
        data_source: str = "",
    ) -> None:
        self.data_source = data_source
        self.places = tuple(places)
        self.vocabulary = vocabulary
        self._lexical = lexical
        self._space = space
        self._facets = Facets(places)
        self._labels: dict[str, Meaning | None] = {}

    def read(self, text: str) -> list[Reading]:
        """How each word of the text is read; a word that nothing is near to has no reading."""
        return [reading for word in dict.fromkeys(words(text)) for reading in read_word(word, self.vocabulary)]

    def score(self, text: str) -> Scores:
        """How well each place answers the text, without filters."""
        readings = self.read(text)
        points: dict[tuple[Reading, str], np.ndarray] = {}
        weights: dict[str, float] = {}
        for reading in readings:
            for stem in stems(reading.read_as):
                weights[stem] = weights.get(stem, 0.0) + reading.weight
                for field, found in self._lexical.points(stem).items():
                    points[reading, field] = reading.weight * found
        meaning = self._space.meaning(weights)
        likeness = None if meaning is None else self._space.points @ meaning.direction
        return Scores(len(set(words(text))), points, meaning, likeness, len(self.places))

    def search(self, wishes: Wishes) -> Answer:
        """Find places. Raises InvalidInput for wishes that cannot be meant."""
        wishes = check(wishes, self._facets.names["cuisine"], self._facets.names["city"])
        scores = self.score(wishes.text)
        passes = self._facets.passing(wishes)
        rankings = scores.rankings(passes)
        fused = scores.fused(rankings) if wishes.text.strip() else passes.astype(float)
        order = best_first(fused)
        ranks = np.zeros((2, len(self.places)), int)  # 0: not found that way
        for found, ranking in zip(ranks, rankings, strict=True):
            found[ranking] = np.arange(1, len(ranking) + 1)
        hits = tuple(
            Hit(
                self.places[row],
                float(fused[row]),
                is_open(self.places[row], wishes),
                self._why(row, scores, *ranks[:, row].tolist()),
            )
            for row in order[: wishes.limit].tolist()
        )
        reached = scores.reached if wishes.text.strip() else np.ones(len(self.places), bool)
        counts = self._facets.count(wishes, reached)
        return Answer(hits, len(order), counts, _corrections(scores), self._unknown(wishes, reached))

    def _why(self, row: int, scores: Scores, by_words: int, by_meaning: int) -> Why:
        matches = [
            Match(reading.typed, reading.read_as, field, float(points[row]))
            for (reading, field), points in scores.points.items()
            if points[row] > 0
        ]
        matches.sort(key=lambda match: -match.points)
        likeness = None if scores.likeness is None else float(scores.likeness[row])
        return Why(by_words or None, by_meaning or None, tuple(matches), likeness, self._near(row, scores.meaning))

    def _near(self, row: int, meaning: Meaning | None, most: int = 2) -> tuple[str, ...]:
        """The place's labels that are alike to the text, nearest first."""
        if meaning is None:
            return ()
        found = []
        for label in self.places[row].labels:
            if label not in self._labels:
                self._labels[label] = self._space.meaning(dict.fromkeys(stems(label), 1.0))
            own = self._labels[label]
            if own is not None and (alike := float(own.direction @ meaning.direction)) > ALIKE:
                found.append((-alike, label))
        return tuple(label for _, label in sorted(found)[:most])

    def _unknown(self, wishes: Wishes, reached: np.ndarray) -> int:
        if wishes.open_at is None:
            return 0
        rows = np.flatnonzero(reached & self._facets.passing(wishes, leaving_out="hours"))
        return sum(self.places[row].hours is None for row in rows)


def _corrections(scores: Scores) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for reading in dict.fromkeys(reading for reading, _ in scores.points):
        if reading.read_as != reading.typed:
            found[reading.typed] = (*found.get(reading.typed, ()), reading.read_as)
    return found
