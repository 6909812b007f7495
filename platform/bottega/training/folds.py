"""Folds of pictures: near-duplicates stay together, and a picture's fold depends on its content alone.

Without that, a model is judged on pictures that it has nearly seen.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

NEAR = 4
"""Of the 64 bits of a hash, how many may differ between near-duplicates."""


def difference_hash(grey: np.ndarray) -> np.ndarray:
    """The 64 bits of pictures (rows, side, side): where brightness rises from one of 8 x 9 fields to its right
    neighbour; (rows, 64) bool. Blur, light and compression hardly change them (Krawetz, "Kind of Like That", 2013).
    """
    fields = _shrink(_shrink(grey, 8, axis=1), 9, axis=2)  # (rows, 8, 9)
    return (fields[:, :, 1:] > fields[:, :, :-1]).reshape(len(grey), 64)


def clusters(grey: np.ndarray) -> np.ndarray:
    """A number for each picture of (rows, side, side): equal for near-duplicates, mirrored ones included; (rows,)."""
    bits, mirrored = difference_hash(grey), difference_hash(grey[:, :, ::-1])
    parent = np.arange(len(grey))
    for row in range(len(grey)):
        near = _distance(bits[:row], bits[row]) <= NEAR
        near |= _distance(bits[:row], mirrored[row]) <= NEAR
        for other in np.flatnonzero(near):
            roots = sorted((_root(parent, row), _root(parent, int(other))))
            parent[roots[1]] = roots[0]
    return np.array([_root(parent, row) for row in range(len(grey))])


def assign_folds(cluster: np.ndarray, contents: Sequence[bytes], count: int) -> np.ndarray:
    """A fold, 0 to count - 1, for each picture: by the hash of the first content of its cluster; (rows,)."""
    digests = np.array([hashlib.sha256(content).hexdigest() for content in contents])
    fold = np.empty(len(digests), np.int64)
    for number in np.unique(cluster):
        members = cluster == number
        fold[members] = int(min(digests[members]), 16) % count
    return fold


def _shrink(values: np.ndarray, fields: int, axis: int) -> np.ndarray:
    """Means of equal parts along an axis."""
    edges = np.linspace(0, values.shape[axis], fields + 1).round().astype(int)
    sums = np.add.reduceat(values.astype(np.float64), edges[:-1], axis=axis)
    shape = [1] * values.ndim
    shape[axis] = fields
    return sums / np.diff(edges).reshape(shape)


def _distance(bits: np.ndarray, one: np.ndarray) -> np.ndarray:
    return (bits != one).sum(axis=1)


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        row = int(parent[row])
    return row
