"""Tree ensembles in memory: one form for every source, any number of outputs, any shape of tree.

The nodes of all trees lie in one table, breadth first, and the two children of a node are neighbours. So a node needs
one number for both, and a walk is `node = child[node] + goes_right`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from bottega.errors import InvalidData, Unsupported

MAX_DEPTH = 64
MAX_FEATURES = 1024
MAX_OUTPUTS = 1024
MAX_CATEGORIES = 1 << 16
MAX_BITS = 1 << 27
"""Bits of all sets of categories together: 16 MB."""

Link = Literal["identity", "sigmoid", "softmax", "argmax", "exp", "step", "isolation"]
"""What makes the answer of the sums. `argmax` is the number of the largest; `step` is 1 above zero and 0 else;
`isolation` is -exp, the score of an isolation forest whose sum is -ln 2 times the mean depth."""


@dataclass(frozen=True)
class Ensemble:
    """An inner node sends a row to `child` where `row[feature] < threshold`, else to `child + 1`.

    A missing value goes to `child` where `missing_left`. At a node with `first_bit >= 0` the row goes to `child + 1`
    where `bits[first_bit | code]` is set, with the code of a value as in `codes`. A leaf's `child` is `~i`, and its
    values are `leaf[i]`.

    The sum of an output is its base, plus its trees' leaves in order, in the datatype of `base`. A leaf of one value is
    added to the tree's own output, a longer one to all outputs.
    """

    root: np.ndarray  # (trees,) int32
    output: np.ndarray  # (trees,) int32, ascending
    feature: np.ndarray  # (nodes,) int32
    threshold: np.ndarray  # (nodes,) float32
    missing_left: np.ndarray  # (nodes,) bool
    first_bit: np.ndarray  # (nodes,) int32
    child: np.ndarray  # (nodes,) int32
    leaf: np.ndarray  # (leaves, 1 or outputs) float32
    base: np.ndarray  # (outputs,) float32 or float64
    bits: np.ndarray  # (bits,) bool
    categories: np.ndarray  # (features,) int32, 0 where no node asks for categories
    depths: np.ndarray  # (trees,) int32, comparisons on the longest way from root to leaf
    link: Link = "identity"
    fractions: bool = True
    """Whether a category of 2.7 is category 2 (XGBoost); else it is none that is known (scikit-learn)."""

    @property
    def features(self) -> int:
        """Number of columns of the model's input."""
        return len(self.categories)

    @property
    def trees(self) -> int:
        """Number of trees of all outputs."""
        return len(self.root)

    @property
    def sums(self) -> int:
        """Number of sums that the trees add to."""
        return len(self.base)

    @property
    def outputs(self) -> int:
        """Number of columns of the answer."""
        return 1 if self.link == "argmax" else self.sums

    @property
    def depth(self) -> int:
        """Depth of the deepest tree."""
        return int(self.depths.max())


@dataclass(frozen=True)
class Tree:
    """One tree as its source has it: node 0 is the root, `left` is -1 at a leaf."""

    left: np.ndarray  # (nodes,) int
    right: np.ndarray  # (nodes,) int
    feature: np.ndarray  # (nodes,) int
    threshold: np.ndarray  # (nodes,) float32
    missing_left: np.ndarray  # (nodes,) bool
    value: np.ndarray  # (nodes, 1 or outputs) float32, read at leaves
    output: int = 0
    sets: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Categories that go right, by node: (categories of the feature + 2,) bool, by `codes`."""


def codes(values: np.ndarray, categories: np.ndarray, fractions: bool = True) -> np.ndarray:
    """Numbers of categories: a whole number below `categories` is itself, any other value is `categories`, and a
    missing one is `categories + 1`."""
    with np.errstate(invalid="ignore"):
        known = (values >= 0) & (values < categories) & (fractions | (np.floor(values) == values))
    return np.where(np.isnan(values), categories + 1, np.where(known, np.nan_to_num(values), categories)).astype(int)


def plant(
    trees: Sequence[Tree], base: np.ndarray, categories: np.ndarray, link: Link = "identity", fractions: bool = True
) -> Ensemble:
    """The trees as one table.

    Raises Unsupported for more than this compiler does, InvalidData for no trees, or for numbers that are none,
    ValueError or IndexError for children that make no tree.
    """
    _check_sizes(trees, base, categories, link)
    rows, shapes = [], []
    nodes = leaves = 0
    trees = sorted(trees, key=lambda tree: tree.output)
    sets = _Sets()
    for tree in trees:
        order, child, depth = _breadth_first(tree)
        inner = child >= 0
        leaf = ~(leaves + np.cumsum(~inner) - 1)
        first_bit = np.full(len(order), -1)
        for at in np.flatnonzero(np.isin(order, list(tree.sets)) & inner) if tree.sets else ():
            first_bit[at] = sets.first_bit(tree.sets[int(order[at])])
        rows.append((order, inner, np.where(inner, child + nodes, leaf), first_bit))
        shapes.append((nodes, depth))
        nodes, leaves = nodes + len(order), leaves + int((~inner).sum())
    if nodes > np.iinfo(np.int32).max // 4:
        raise Unsupported(f"The trees have {nodes} nodes.", next_step="Train fewer or smaller trees.")
    ensemble = Ensemble(
        root=np.array([start for start, _ in shapes], np.int32),
        output=np.array([tree.output for tree in trees], np.int32),
        feature=_column(trees, rows, "feature", 0, np.int32),
        threshold=_column(trees, rows, "threshold", np.inf, np.float32),
        missing_left=_column(trees, rows, "missing_left", True, np.bool_),
        first_bit=np.concatenate([row[3] for row in rows]).astype(np.int32),
        child=np.concatenate([row[2] for row in rows]).astype(np.int32),
        leaf=np.concatenate([tree.value[row[0]][~row[1]] for tree, row in zip(trees, rows, strict=True)]),
        base=base,
        bits=sets.joined(),
        categories=categories.astype(np.int32),
        depths=np.array([depth for _, depth in shapes], np.int32),
        link=link,
        fractions=fractions,
    )
    _check_numbers(ensemble)
    return ensemble


def _check_sizes(trees: Sequence[Tree], base: np.ndarray, categories: np.ndarray, link: str) -> None:
    if not trees:
        raise InvalidData("The model has no trees.", next_step="Train at least one round.")
    limits = (
        ("features", len(categories), MAX_FEATURES),
        ("outputs", len(base), MAX_OUTPUTS),
        ("categories of a feature", int(categories.max(initial=0)), MAX_CATEGORIES),
    )
    for what, count, limit in limits:
        if count > limit:
            raise Unsupported(f"The model has {count} {what}; up to {limit} are compiled.", next_step="Train on fewer.")
    if not len(base) or not len(categories) or link not in get_args(Link):
        raise InvalidData(f"The model has {len(base)} outputs, {len(categories)} features, and the link {link!r}.")
    for tree in trees:
        width = tree.value.shape[1]
        if not 0 <= tree.output < (len(base) if width == 1 else 1) or width not in (1, len(base)):
            raise InvalidData(f"A tree adds {tree.value.shape[1]} values to output {tree.output} of {len(base)}.")


def _check_numbers(ensemble: Ensemble) -> None:
    feature = ensemble.feature
    if not 0 <= feature.min() <= feature.max() < ensemble.features:
        raise InvalidData(f"A tree splits on a feature that is not one of the {ensemble.features}.")
    if not (np.isfinite(ensemble.leaf).all() and np.isfinite(ensemble.base).all()):
        raise InvalidData("A leaf or a base score is no finite number.")
    if np.isnan(ensemble.threshold[ensemble.first_bit < 0]).any():
        raise InvalidData("A threshold is no number.")


def _column(trees: Sequence[Tree], rows: Sequence[tuple], name: str, fill: float, dtype: type) -> np.ndarray:
    """A property of the nodes in the new order, `fill` at leaves."""
    parts = [np.where(row[1], getattr(tree, name)[row[0]], fill) for tree, row in zip(trees, rows, strict=True)]
    return np.concatenate(parts).astype(dtype)


def _breadth_first(tree: Tree) -> tuple[np.ndarray, np.ndarray, int]:
    """The nodes in order, the place of each one's left child, -1 at leaves, and the depth."""
    front, count, depth = np.zeros(1, np.int64), 1, 0
    order, child = [front], []
    while True:
        if front.min() < 0:
            raise ValueError("a child has a negative number")
        inner = tree.left[front] != -1
        child.append(np.where(inner, count + 2 * (np.cumsum(inner) - 1), -1))
        if not inner.any():
            return np.concatenate(order), np.concatenate(child), depth
        parents = front[inner]
        front = np.stack([tree.left[parents], tree.right[parents]], 1).reshape(-1).astype(np.int64)
        order.append(front)
        count, depth = count + len(front), depth + 1
        if count > len(tree.left):
            raise ValueError("a node has two parents")
        if depth > MAX_DEPTH:
            raise Unsupported(
                f"A tree is more than {MAX_DEPTH} deep.", next_step=f"Train with max_depth={MAX_DEPTH} or less."
            )


class _Sets:
    """Sets of categories, equal ones kept once, each at a multiple of a power of two that is not below its size.

    So `first_bit | code` is the place of a code.
    """

    def __init__(self) -> None:
        self.first: dict[bytes, int] = {}
        self.parts: list[np.ndarray] = []
        self.count = 0

    def first_bit(self, bits: np.ndarray) -> int:
        key = bits.tobytes()
        if key not in self.first:
            size = 1 << (len(bits) - 1).bit_length()
            first = -(-self.count // size) * size
            self.parts += [np.zeros(first - self.count, bool), bits]
            self.first[key], self.count = first, first + len(bits)
            if self.count > MAX_BITS:
                raise Unsupported(
                    f"The sets of categories take more than {MAX_BITS} bits.", next_step="Train on fewer categories."
                )
        return self.first[key]

    def joined(self) -> np.ndarray:
        return np.concatenate([*self.parts, np.zeros(0, bool)])


def predict(ensemble: Ensemble, features: np.ndarray) -> np.ndarray:
    """The ensemble in numpy, one tree at a time: (batch, features) float32 to (batch, outputs) float32.

    The definition that the compiled kernels are measured by: their sums are the same, bit for bit.
    """
    sums = np.tile(ensemble.base, (len(features), 1))
    for root, output, depth in zip(ensemble.root, ensemble.output, ensemble.depths, strict=True):
        node = np.full(len(features), root)
        for _ in range(depth):
            child = ensemble.child[node]
            node = np.where(child < 0, node, child + _goes_right(ensemble, features, node))
        values = ensemble.leaf[~ensemble.child[node]]
        sums[:, slice(None) if values.shape[1] > 1 else slice(output, output + 1)] += values
    return apply_link(ensemble.link, sums).astype(np.float32)


def _goes_right(ensemble: Ensemble, features: np.ndarray, node: np.ndarray) -> np.ndarray:
    feature, first_bit = ensemble.feature[node], ensemble.first_bit[node]
    value = features[np.arange(len(node)), feature]
    right = np.where(np.isnan(value), ~ensemble.missing_left[node], value >= ensemble.threshold[node])
    asks = first_bit >= 0
    code = codes(value[asks], ensemble.categories[feature[asks]], ensemble.fractions)
    right[asks] = ensemble.bits[first_bit[asks] | code]
    return right


def apply_link(link: Link, sums: np.ndarray) -> np.ndarray:
    """(batch, sums) to (batch, outputs)."""
    match link:
        case "sigmoid":
            return 1 / (1 + np.exp(np.minimum(-sums, 88)))
        case "softmax":
            powers = np.exp(sums - sums.max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True)
        case "argmax":
            return sums.argmax(1, keepdims=True)
        case "exp":
            return np.exp(sums)
        case "step":
            return (sums > 0).astype(sums.dtype)
        case "isolation":
            return -np.exp(sums)
    return sums
