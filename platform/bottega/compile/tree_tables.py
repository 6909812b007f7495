"""Tree tables: an ensemble laid out for the kernels, as complete trees or as nodes that say where their children are.

Both read a *row* of prepared columns instead of the features, so that a walk needs no test for missing values: a
feature whose missing values go left is read from a column where they are -inf, one whose go right from a column where
they are +inf. A node that asks for categories reads a column of their codes.
"""

from dataclasses import dataclass

import numpy as np

from bottega.compile.trees import Ensemble, Link

COMPLETE_DEPTH = 8
"""Trees of up to this depth are filled up to complete ones: 255 nodes, 3 KB each."""
ROW_LANES, TREE_LANES = 32, 64
"""Rows and trees walked side by side: more walks hide the time that each waits for memory, until they wait for
registers."""
TOP = 3
"""Levels at which row lanes compare all nodes, which is faster than reading the one that each lane needs."""
TILE_BYTES = 1 << 16
MAX_TILE = 512
"""Rows that row lanes prepare at a time: as many as fit `TILE_BYTES`, at most this many."""


@dataclass(frozen=True)
class Form:
    """All that a kernel is made for; `depth` is 0 for trees that keep their shape."""

    depth: int
    features: int
    numbers: int
    codes: int
    sums: int
    width: int
    dtype: str
    link: Link
    fractions: bool

    @property
    def complete(self) -> bool:
        """Whether the trees are complete ones."""
        return self.depth > 0

    @property
    def nodes(self) -> int:
        """Inner nodes of a complete tree."""
        return (1 << self.depth) - 1

    @property
    def top(self) -> int:
        """Levels of a complete tree at which all nodes are compared."""
        return min(TOP, self.depth)

    @property
    def columns(self) -> int:
        """Columns of a prepared row: numbers, then codes."""
        return self.numbers + self.codes

    @property
    def outputs(self) -> int:
        """Columns of the answer."""
        return 1 if self.link == "argmax" else self.sums

    @property
    def wide(self) -> bool:
        """Whether a leaf holds a value for each sum."""
        return self.width > 1

    @property
    def blocks(self) -> int:
        """Blocks of `ROW_LANES` rows that are prepared at a time."""
        return max(1, min(MAX_TILE, TILE_BYTES // (4 * self.columns + 8 * self.sums)) // ROW_LANES)


@dataclass(frozen=True)
class Columns:
    """How a row is prepared: a number is the larger of the feature and `floor`, and `fill` where it is missing."""

    source: np.ndarray  # (columns,) int32, the feature of each
    floor: np.ndarray  # (columns,) float32
    fill: np.ndarray  # (columns,) float32
    categories: np.ndarray  # (columns,) int32, for codes
    numbers: int
    node: np.ndarray  # (nodes,) int32, the column that each node reads
    threshold: np.ndarray  # (nodes,) float32; where a node reads codes, `first_bit` in the bits of a float32


def form_of(ensemble: Ensemble) -> Form:
    """The form of the ensemble's kernels."""
    found = columns(ensemble)
    return Form(
        depth=max(ensemble.depth, 1) if _fills_up(ensemble) else 0,
        features=ensemble.features,
        numbers=found.numbers,
        codes=len(found.source) - found.numbers,
        sums=ensemble.sums,
        width=ensemble.leaf.shape[1],
        dtype=str(ensemble.base.dtype),
        link=ensemble.link,
        fractions=ensemble.fractions,
    )


def row_tables(ensemble: Ensemble) -> list[np.ndarray]:
    """The tables of `row_lanes`, in the order of its arguments."""
    found, start = columns(ensemble), _starts(ensemble)
    if not _fills_up(ensemble):
        nodes = [found.node, found.threshold, ensemble.child, ensemble.leaf]
        return [*_common(ensemble, found), start, ensemble.root, ensemble.depths, *nodes]
    column, threshold, number = _complete(ensemble, found)
    unused = np.zeros(1, np.int32)
    return [
        *_common(ensemble, found),
        *(start, unused, unused),
        *(column.reshape(-1), threshold.reshape(-1)),
        *_leaves(number, ensemble.leaf),
    ]


def tree_tables(ensemble: Ensemble) -> list[np.ndarray]:
    """The tables of `tree_lanes`: groups of `TREE_LANES` trees, filled up with trees of one leaf of zero."""
    found, empty = columns(ensemble), len(ensemble.leaf)
    lanes, start = _side_by_side(_starts(ensemble))
    leaf = np.concatenate([ensemble.leaf, np.zeros((1, ensemble.leaf.shape[1]), np.float32)])
    if not _fills_up(ensemble):
        root = np.where(lanes < 0, len(ensemble.child), ensemble.root[lanes]).astype(np.int32)
        steps = np.where(lanes < 0, 0, ensemble.depths[lanes]).max(1)
        column, child = np.append(found.node, np.int32(0)), np.append(ensemble.child, np.int32(~empty))
        return [
            *_common(ensemble, found),
            *(start, root, steps),
            *(column, np.append(found.threshold, np.float32(np.inf)), child, leaf),
        ]
    column, threshold, number = _complete(ensemble, found)
    return [
        *_common(ensemble, found),
        *(start, np.zeros((1, TREE_LANES), np.int32), np.zeros(1, np.int32)),
        *(_transposed(column, lanes, 0), _transposed(threshold, lanes, np.inf)),
        *_leaves(_transposed(number, lanes, empty), leaf),
    ]


def columns(ensemble: Ensemble) -> Columns:
    """The columns that the nodes ask for, each once.

    A threshold of -inf with missing values to the left parts missing values from all others: its column is +inf where
    there is a value.
    """
    inner, asks = ensemble.child >= 0, ensemble.first_bit >= 0
    present = np.isneginf(ensemble.threshold) & ensemble.missing_left & ~asks
    kind = np.where(asks, 3, np.where(present, 2, ~ensemble.missing_left))
    wanted = kind * ensemble.features + ensemble.feature
    wanted[~inner] = wanted[inner].min(initial=wanted.max())
    found, node = np.unique(wanted, return_inverse=True)
    kinds, source = np.divmod(found, ensemble.features)
    threshold = np.where(present, np.float32(0), ensemble.threshold)
    threshold[asks] = ensemble.first_bit[asks].view(np.float32)
    return Columns(
        source=source.astype(np.int32),
        floor=np.where(kinds == 2, np.inf, -np.inf).astype(np.float32),
        fill=np.where(kinds == 1, np.inf, -np.inf).astype(np.float32),
        categories=ensemble.categories[source],
        numbers=int((kinds < 3).sum()),
        node=node.astype(np.int32),
        threshold=threshold,
    )


def _fills_up(ensemble: Ensemble) -> bool:
    return ensemble.depth <= COMPLETE_DEPTH


def _common(ensemble: Ensemble, found: Columns) -> list[np.ndarray]:
    """What every kernel takes first."""
    return [found.source, found.floor, found.fill, found.categories, _words(ensemble.bits), ensemble.base]


def _words(bits: np.ndarray) -> np.ndarray:
    """(bits,) bool to int32 words, at least one; the first bit is the lowest of the first word."""
    padded = np.zeros(max(1, -(-len(bits) // 32)) * 32, bool)
    padded[: len(bits)] = bits
    return np.packbits(padded, bitorder="little").view("<i4").astype(np.int32)


def _starts(ensemble: Ensemble) -> np.ndarray:
    """(groups + 1,) int32: the trees of sum `i` are those from `starts[i]` up to `starts[i + 1]`.

    Trees whose leaves have a value for each sum are one group.
    """
    groups = 1 if ensemble.leaf.shape[1] > 1 else ensemble.sums
    return np.searchsorted(ensemble.output, np.arange(groups + 1)).astype(np.int32)


def _side_by_side(start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups, TREE_LANES) numbers of trees, -1 for none, and the `starts` in groups."""
    group_start = np.concatenate([[0], np.cumsum(-(-np.diff(start) // TREE_LANES))]).astype(np.int32)
    lanes = np.full(group_start[-1] * TREE_LANES, -1)
    for first, last, group in zip(start[:-1], start[1:], group_start[:-1], strict=True):
        lanes[group * TREE_LANES :][: last - first] = np.arange(first, last)
    return lanes.reshape(-1, TREE_LANES), group_start


def _complete(ensemble: Ensemble, found: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns and thresholds, (trees, nodes), and numbers of leaves, (trees, nodes + 1), of complete trees.

    The children of node `i` are `2i + 1` and `2i + 2`. A leaf above the last level has itself below, on both sides.
    """
    at, levels = ensemble.root[:, None], []  # (trees, 2**level)
    for _ in range(max(ensemble.depth, 1)):
        levels.append(at)
        child = ensemble.child[at]
        at = np.stack([np.where(child < 0, at, child), np.where(child < 0, at, child + 1)], 2).reshape(len(at), -1)
    nodes = np.concatenate(levels, 1)
    return found.node[nodes], found.threshold[nodes], ~ensemble.child[at]


def _leaves(number: np.ndarray, leaf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and values of leaves; single values stand where their numbers would."""
    if leaf.shape[1] > 1:
        return number.reshape(-1), leaf
    return np.zeros(1, np.int32), leaf[number.reshape(-1)]


def _transposed(table: np.ndarray, lanes: np.ndarray, fill: float) -> np.ndarray:
    """(trees, width) to groups x width x TREE_LANES, flat."""
    picked = np.where(lanes[:, :, None] < 0, np.array(fill, table.dtype), table[lanes])
    return np.ascontiguousarray(picked.transpose(0, 2, 1)).reshape(-1)
