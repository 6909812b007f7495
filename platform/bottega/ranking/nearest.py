"""Candidates by nearest neighbours: an approximate index of the restaurants' tower, and exact search as its oracle.

The graph of neighbours is searched from far to near (Malkov and Yashunin, "Efficient and robust approximate nearest
neighbor search using hierarchical navigable small world graphs", 2020). For hundreds of restaurants a product with all
of them is faster; the index is for hundreds of thousands.
"""

import numpy as np
from usearch.index import Index

NEIGHBOURS, BUILD_EFFORT, SEARCH_EFFORT = 32, 256, 256


class NearestIndex:
    """Vectors (items, width) float32, found by their product with a query."""

    def __init__(self, vectors: np.ndarray, *, search_effort: int = SEARCH_EFFORT) -> None:
        self._index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=NEIGHBOURS,
            expansion_add=BUILD_EFFORT,
            expansion_search=search_effort,
        )
        self._index.add(np.arange(len(vectors), dtype=np.uint64), np.ascontiguousarray(vectors, np.float32), threads=1)

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """The items whose product with each query is largest, best first: (queries, count) int64."""
        found = self._index.search(np.ascontiguousarray(queries, np.float32), count, threads=1)
        return np.asarray(found.keys, np.int64).reshape(len(queries), -1)


def nearest_exactly(vectors: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """What the index is measured by: every product, of equal ones the lower item first: (queries, count) int64."""
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :count]


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the exact neighbours that were found."""
    same = (found[:, :, None] == exact[:, None, :]).any(1)
    return float(same.mean())
