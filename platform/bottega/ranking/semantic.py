"""Semantic search: places and queries as points in one space, learned from which words go together.

Places: TF-IDF of their words, compressed by a truncated singular value decomposition (latent semantic analysis,
Deerwester et al., 1990). Queries: a query is a few of the words of the place that is meant, so a linear map learns to
go from a place with most words struck out to that place's point. The mean over every way to strike words out has a
closed form (Chen et al., "Marginalized denoising autoencoders", 2012), so nothing is drawn and nothing downloaded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from bottega.ranking.space import Space

KEPT = 0.15
"""The share of a place's words that a query is taken to have."""


def learn_space(
    documents: Sequence[Sequence[str]], *, dimensions: int = 128, kept: float = KEPT, at_least: int = 3
) -> Space:
    """Learn the space of places, each given by its words; words of fewer than `at_least` places have no meaning."""
    counts = Counter(word for document in documents for word in set(document))
    vocabulary = sorted(word for word, count in counts.items() if count >= at_least)
    place = {word: index for index, word in enumerate(vocabulary)}
    rarity = np.array([np.log((1 + len(documents)) / (1 + counts[word])) + 1 for word in vocabulary], np.float32)
    table = _normal(_table(documents, place, rarity))
    _, directions = np.linalg.eigh((table.T @ table).toarray())  # of the words; the largest are the last
    points = table @ directions[:, ::-1][:, :dimensions]
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return Space(vocabulary, rarity, denoise(table, points, kept).astype(np.float32), points.astype(np.float32))


def denoise(table: csr_array, points: np.ndarray, kept: float, ridge: float = 0.1) -> np.ndarray:
    """The linear map from rows of `table` (places, words), each word kept with probability `kept`, to `points`.

    It minimises the mean squared error over all ways to strike words out, plus `ridge` times the map's squared size.
    """
    together = (table.T @ table).toarray()  # (words, words)
    alone = np.diag(together).copy()
    expected = kept**2 * together
    np.fill_diagonal(expected, kept * alone + ridge)
    return np.linalg.solve(expected, kept * (table.T @ points))


def _table(documents: Sequence[Sequence[str]], place: Mapping[str, int], rarity: np.ndarray) -> csr_array:
    """TF-IDF, (places, words); a word counts once however often it stands there."""
    found = [sorted({place[word] for word in document if word in place}) for document in documents]
    columns = np.array([column for row in found for column in row], int)
    starts = np.cumsum([0, *map(len, found)])
    return csr_array((rarity[columns].astype(float), columns, starts), shape=(len(documents), len(place)))


def _normal(table: csr_array) -> csr_array:
    lengths = np.sqrt(np.asarray(table.multiply(table).sum(axis=1))).ravel()
    return csr_array(table.multiply(1 / np.maximum(lengths, 1e-12)[:, None]))
