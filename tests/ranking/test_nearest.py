"""The approximate index against exact search."""

import numpy as np
import pytest

from bottega.ranking.nearest import NearestIndex, nearest_exactly, recall


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3000, 24)).astype(np.float32)


def test_exact_search_is_a_sort_of_all_products(vectors: np.ndarray) -> None:
    queries = np.random.default_rng(2).normal(size=(20, 24)).astype(np.float32)
    found = nearest_exactly(vectors, queries, 5)
    for row, query in enumerate(queries):
        assert found[row].tolist() == np.argsort(-(vectors @ query), kind="stable")[:5].tolist()


def test_the_index_finds_nearly_all_of_them(vectors: np.ndarray) -> None:
    queries = np.random.default_rng(3).normal(size=(50, 24)).astype(np.float32)
    exact = nearest_exactly(vectors, queries, 100)
    assert recall(NearestIndex(vectors).nearest(queries, 100), exact) > 0.95
    assert recall(exact, exact) == 1.0
    assert recall(exact[:, :50], exact) == 0.5


def test_the_best_comes_first(vectors: np.ndarray) -> None:
    queries = np.random.default_rng(4).normal(size=(20, 24)).astype(np.float32)
    found = NearestIndex(vectors).nearest(queries, 10)
    products = np.take_along_axis(queries @ vectors.T, found, axis=1)
    assert (np.diff(products, axis=1) <= 1e-5).all()
