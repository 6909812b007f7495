"""Tree ensembles as tables: an XGBoost model becomes complete trees of equal depth, in three dense arrays.

A complete tree needs no pointers: the children of node `i` are `2i + 1` and `2i + 2`, so every walk takes the same
number of steps and a SIMD lane never waits for another. A shorter branch is padded by copies of its leaf.
"""

import json
from dataclasses import dataclass

import numpy as np

from bottega.compile.ubjson import decode
from bottega.errors import InvalidData, Unsupported

MAX_DEPTH = 8
MAX_FEATURES = 1024
"""The kernels lay rows out on the stack: 256 KB at this width."""
OBJECTIVES = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
"""Objectives whose prediction is the plain sum of the leaves."""


@dataclass(frozen=True)
class Ensemble:
    """Complete trees of one depth: node `i` sends a row left where `row[feature] < threshold`.

    A missing value goes left where `missing_left`. Prediction of an output: its base score, plus its trees' leaves
    in order, added in float32 as XGBoost does.
    """

    feature: np.ndarray  # (outputs, trees, nodes) int32
    threshold: np.ndarray  # (outputs, trees, nodes) float32
    missing_left: np.ndarray  # (outputs, trees, nodes) bool
    leaf: np.ndarray  # (outputs, trees, nodes + 1) float32
    base: np.ndarray  # (outputs,) float32
    features: int

    @property
    def outputs(self) -> int:
        """Number of outputs, each with trees of its own."""
        return self.feature.shape[0]

    @property
    def trees(self) -> int:
        """Number of trees of each output."""
        return self.feature.shape[1]

    @property
    def depth(self) -> int:
        """Depth of every tree: the number of comparisons from root to leaf."""
        return int(self.leaf.shape[2]).bit_length() - 1


def read_xgboost(model: bytes) -> Ensemble:
    """The trees of an XGBoost model in UBJ.

    Raises InvalidData for bytes that are no model, Unsupported for a booster, an objective, categorical splits or a
    depth beyond what this compiler does.
    """
    try:
        return _parse(model)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"The bytes are no XGBoost model: {type(error).__name__}: {error}.") from None


def _parse(model: bytes) -> Ensemble:
    learner = decode(model)["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise Unsupported(f"The booster is {booster['name']!r}.", next_step="Train with booster='gbtree'.")
    objective = learner["objective"]["name"]
    if objective not in OBJECTIVES:
        raise Unsupported(f"The objective is {objective!r}.", next_step=f"Train with one of {', '.join(OBJECTIVES)}.")
    parameters = learner["learner_model_param"]
    features = int(parameters["num_feature"])
    if features > MAX_FEATURES:
        raise Unsupported(
            f"The model takes {features} features; up to {MAX_FEATURES} are compiled.",
            next_step="Select fewer features.",
        )
    base = np.array(json.loads(parameters["base_score"]), np.float32).reshape(-1)
    trees, output_of = booster["model"]["trees"], np.asarray(booster["model"]["tree_info"], np.int64)
    groups = [[trees[i] for i in np.flatnonzero(output_of == output)] for output in range(len(base))]
    return _assemble(groups, base, features)


def _assemble(groups: list[list[dict]], base: np.ndarray, features: int) -> Ensemble:
    """The trees of each output, side by side."""
    depth = max((_depth(tree) for group in groups for tree in group), default=1)
    if depth > MAX_DEPTH:
        raise Unsupported(
            f"A tree is {depth} deep; complete trees are compiled to a depth of {MAX_DEPTH}.",
            next_step=f"Train with max_depth={MAX_DEPTH} or less.",
        )
    ensemble = _empty(len(base), max(map(len, groups)), max(depth, 1), base, features)
    for output, group in enumerate(groups):
        for position, tree in enumerate(group):
            _place(tree, ensemble, (output, position), source=0, node=0)
    if ensemble.feature.size and not 0 <= ensemble.feature.min() <= ensemble.feature.max() < features:
        raise InvalidData(f"A tree splits on a feature that is not one of the {features}.")
    return ensemble


def _depth(tree: dict) -> int:
    """Comparisons on the longest way from the root to a leaf; parents come before their children."""
    if np.any(tree["split_type"]):
        raise Unsupported("A tree splits on categories.", next_step="Encode categories as numbers before training.")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise Unsupported("A leaf holds a vector.", next_step="Train with multi_strategy='one_output_per_tree'.")
    deepest, waiting, visits = 0, [(0, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        deepest, visits = max(deepest, depth), visits + 1
        if visits > len(tree["left_children"]):
            raise ValueError("a node has two parents")
        if tree["left_children"][node] != -1:
            waiting += [(tree["left_children"][node], depth + 1), (tree["right_children"][node], depth + 1)]
    return deepest


def _empty(outputs: int, trees: int, depth: int, base: np.ndarray, features: int) -> Ensemble:
    """Trees of zero leaves: adding one changes no sum."""
    nodes = (1 << depth) - 1
    return Ensemble(
        feature=np.zeros((outputs, trees, nodes), np.int32),
        threshold=np.full((outputs, trees, nodes), np.inf, np.float32),
        missing_left=np.ones((outputs, trees, nodes), bool),
        leaf=np.zeros((outputs, trees, nodes + 1), np.float32),
        base=base,
        features=features,
    )


def _place(tree: dict, ensemble: Ensemble, at: tuple[int, int], source: int, node: int) -> None:
    """Copy the subtree of `source` to `node`; a leaf above the last level fills both sides with itself."""
    nodes = ensemble.feature.shape[2]
    left, right = tree["left_children"][source], tree["right_children"][source]
    if node >= nodes:
        ensemble.leaf[(*at, node - nodes)] = tree["split_conditions"][source]
        return
    if left == -1:
        left = right = source
    else:
        ensemble.feature[(*at, node)] = tree["split_indices"][source]
        ensemble.threshold[(*at, node)] = tree["split_conditions"][source]
        ensemble.missing_left[(*at, node)] = tree["default_left"][source]
    _place(tree, ensemble, at, left, 2 * node + 1)
    _place(tree, ensemble, at, right, 2 * node + 2)


def predict(ensemble: Ensemble, features: np.ndarray) -> np.ndarray:
    """The ensemble in numpy, one level of all trees at a time: (batch, features) float32 to (batch, outputs) float32.

    The definition that the compiled kernels are measured by, bit for bit.
    """
    batch = len(features)
    answer = np.tile(ensemble.base, (batch, 1))
    rows = np.arange(batch)
    for output in range(ensemble.outputs):
        for tree in range(ensemble.trees):
            node = np.zeros(batch, np.int64)
            for _ in range(ensemble.depth):
                value = features[rows, ensemble.feature[output, tree, node]]
                left = np.where(
                    np.isnan(value),
                    ensemble.missing_left[output, tree, node],
                    value < ensemble.threshold[output, tree, node],
                )
                node = 2 * node + np.where(left, 1, 2)
            answer[:, output] += ensemble.leaf[output, tree, node - ensemble.feature.shape[2]]
    return answer
