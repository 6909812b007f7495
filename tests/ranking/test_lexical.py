import numpy as np
import pytest

from bottega.ranking.lexical import WEIGHTS, LexicalIndex, texts
from bottega.ranking.words import stems


def bm25(documents: list[list[str]], word: str, k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    """The formula, document by document."""
    frequency = np.array([document.count(word) for document in documents], float)
    lengths = np.array([len(document) for document in documents], float)
    having = (frequency > 0).sum()
    rarity = np.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
    return rarity * frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * lengths / lengths.mean()))


def test_points_are_those_of_the_formula(places, folder):
    index = LexicalIndex.open(folder / "lexical")
    for field in ("name", "cuisines", "features"):
        documents = [stems(texts(place)[field]) for place in places]
        for word in {word for document in documents for word in document}:
            assert index.points(word)[field] == pytest.approx(WEIGHTS[field] * bm25(documents, word), rel=1e-5)


def test_a_word_that_nobody_has_gives_no_points(folder):
    index = LexicalIndex.open(folder / "lexical")
    assert index.points("zeppelin") == {}
    assert index.places == 36
