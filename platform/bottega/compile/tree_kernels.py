"""Tree walks as TIR kernels: SIMD over rows for large batches, over trees for single requests.

Both walk complete trees without a branch: `node = 2 * node + 1 + (value >= threshold)`. A missing value needs no test
on the way: each row is laid out twice, once with NaN as -inf and once as +inf, and a node reads the copy that sends
NaN to its default side. Both add the leaves in tree order, so they agree with XGBoost and with each other bit for bit.
The tables are inputs, so one kernel serves every model of its depth and its number of features.
"""

import numpy as np
import tvm
from tvm.script import tirx as T

from bottega.compile.program import Program
from bottega.compile.trees import Ensemble

LANES = 32
"""Rows or trees walked side by side: two AVX-512 registers, or four AVX2 ones."""


NAMES = ("row_lanes", "tree_lanes")


def add_trees(program: Program, ensemble: Ensemble) -> None:
    """Add both kernels, with the ensemble's tables as their constants."""
    depth, features = ensemble.depth, ensemble.features
    program.add("row_lanes", row_lanes(depth, features), row_tables(ensemble))
    program.add("tree_lanes", tree_lanes(depth, features), tree_tables(ensemble))


def row_lanes(depth: int, features: int) -> tvm.tirx.PrimFunc:
    """A kernel that walks each tree with `LANES` rows at once."""
    nodes = (1 << depth) - 1

    @T.prim_func(s_tir=True)
    def kernel(x: T.handle, f: T.handle, t: T.handle, v: T.handle, b: T.handle, y: T.handle):  # type: ignore[no-untyped-def]
        T.func_attr({"global_symbol": "row_lanes", "tirx.noalias": True})
        rows = T.int32()
        outputs = T.int32()
        trees = T.int32()
        X = T.match_buffer(x, (rows, features), "float32")
        Feature = T.match_buffer(f, (outputs, trees, nodes), "int32")
        Threshold = T.match_buffer(t, (outputs, trees, nodes), "float32")
        Leaf = T.match_buffer(v, (outputs, trees, nodes + 1), "float32")
        Base = T.match_buffer(b, (outputs,), "float32")
        Y = T.match_buffer(y, (rows, outputs), "float32")
        for block in range((rows + LANES - 1) // LANES):
            row = T.alloc_buffer((2 * features, LANES), "float32", scope="local")
            node = T.alloc_buffer((LANES,), "int32", scope="local")
            total = T.alloc_buffer((LANES,), "float32", scope="local")
            for lane in range(LANES):
                for feature in range(features):
                    value = X[T.min(block * LANES + lane, rows - 1), feature]
                    row[feature, lane] = T.Select(T.isnan(value), T.float32(-np.inf), value)
                    row[features + feature, lane] = T.Select(T.isnan(value), T.float32(np.inf), value)
            for output in range(outputs):
                for lane in T.vectorized(LANES):
                    total[lane] = Base[output]
                for tree in range(trees):
                    for lane in T.vectorized(LANES):
                        node[lane] = 0
                    for _ in T.unroll(depth):
                        for lane in T.vectorized(LANES):
                            node[lane] = (
                                2 * node[lane]
                                + 1
                                + T.Cast(
                                    "int32",
                                    row[Feature[output, tree, node[lane]], lane] >= Threshold[output, tree, node[lane]],
                                )
                            )
                    for lane in T.vectorized(LANES):
                        total[lane] = total[lane] + Leaf[output, tree, node[lane] - nodes]
                for lane in range(LANES):
                    if block * LANES + lane < rows:
                        Y[block * LANES + lane, output] = total[lane]

    return kernel


def tree_lanes(depth: int, features: int) -> tvm.tirx.PrimFunc:
    """A kernel that walks `LANES` trees at once with one row."""
    nodes = (1 << depth) - 1

    @T.prim_func(s_tir=True)
    def kernel(x: T.handle, f: T.handle, t: T.handle, v: T.handle, b: T.handle, y: T.handle):  # type: ignore[no-untyped-def]
        T.func_attr({"global_symbol": "tree_lanes", "tirx.noalias": True})
        rows = T.int32()
        outputs = T.int32()
        groups = T.int32()
        X = T.match_buffer(x, (rows, features), "float32")
        Feature = T.match_buffer(f, (outputs, groups, nodes, LANES), "int32")
        Threshold = T.match_buffer(t, (outputs, groups, nodes, LANES), "float32")
        Leaf = T.match_buffer(v, (outputs, groups, nodes + 1, LANES), "float32")
        Base = T.match_buffer(b, (outputs,), "float32")
        Y = T.match_buffer(y, (rows, outputs), "float32")
        for i in range(rows):
            row = T.alloc_buffer((2 * features,), "float32", scope="local")
            node = T.alloc_buffer((LANES,), "int32", scope="local")
            leaf = T.alloc_buffer((LANES,), "float32", scope="local")
            total = T.alloc_buffer((1,), "float32", scope="local")
            for feature in range(features):
                row[feature] = T.Select(T.isnan(X[i, feature]), T.float32(-np.inf), X[i, feature])
                row[features + feature] = T.Select(T.isnan(X[i, feature]), T.float32(np.inf), X[i, feature])
            for output in range(outputs):
                total[0] = Base[output]
                for group in range(groups):
                    for lane in T.vectorized(LANES):
                        node[lane] = 0
                    for _ in T.unroll(depth):
                        for lane in T.vectorized(LANES):
                            node[lane] = (
                                2 * node[lane]
                                + 1
                                + T.Cast(
                                    "int32",
                                    row[Feature[output, group, node[lane], lane]]
                                    >= Threshold[output, group, node[lane], lane],
                                )
                            )
                    for lane in T.vectorized(LANES):
                        leaf[lane] = Leaf[output, group, node[lane] - nodes, lane]
                    for lane in T.unroll(LANES):
                        total[0] = total[0] + leaf[lane]
                Y[i, output] = total[0]

    return kernel


def row_tables(ensemble: Ensemble) -> list[np.ndarray]:
    """The tables of `row_lanes`, in the order of its arguments."""
    return [_copies(ensemble), ensemble.threshold, ensemble.leaf, ensemble.base]


def tree_tables(ensemble: Ensemble) -> list[np.ndarray]:
    """The tables of `tree_lanes`: trees side by side in groups of `LANES`, filled up with trees of zero."""
    return [
        _side_by_side(_copies(ensemble), 0),
        _side_by_side(ensemble.threshold, np.inf),
        _side_by_side(ensemble.leaf, 0.0),
        ensemble.base,
    ]


def _copies(ensemble: Ensemble) -> np.ndarray:
    """Feature numbers that choose the copy of the row: NaN as -inf goes left, NaN as +inf goes right."""
    return np.where(ensemble.missing_left, ensemble.feature, ensemble.feature + ensemble.features).astype(np.int32)


def _side_by_side(table: np.ndarray, fill: float) -> np.ndarray:
    """(outputs, trees, width) to (outputs, groups, width, LANES)."""
    outputs, trees, width = table.shape
    groups = -(-trees // LANES)
    padded = np.full((outputs, groups * LANES, width), fill, table.dtype)
    padded[:, :trees] = table
    return np.ascontiguousarray(padded.reshape(outputs, groups, LANES, width).transpose(0, 1, 3, 2))
