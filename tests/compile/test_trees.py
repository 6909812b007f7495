"""Random ensembles: the table, its numpy definition and the kernels against a walk of each tree as it was given."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.compile import tree_onnx
from bottega.compile.onnx_engine import model
from bottega.compile.trees import MAX_CATEGORIES, MAX_DEPTH, MAX_FEATURES, Link, Tree, plant, predict
from bottega.errors import InvalidData, Unsupported

EDGES = np.array([-np.inf, -3e38, -1.5, -1e-45, -0.0, 0.0, 1e-45, 1.0, 2.0, 3.0, 3e38, np.inf], np.float32)
CATEGORIES = np.array([0, 0, 5, 40])


def grow(random: np.random.Generator, depth: int, width: int = 1, output: int = 0) -> Tree:
    """A tree whose branches end anywhere; the last two features are categories."""
    left, right, sets = [-1], [-1], {}
    waiting = [(0, 0)]
    while waiting:
        node, level = waiting.pop()
        if level < depth and random.random() < (1 if level == 0 else 0.7):
            left[node], right[node] = len(left), len(left) + 1
            waiting += [(left[node], level + 1), (right[node], level + 1)]
            left += [-1, -1]
            right += [-1, -1]
    nodes = len(left)
    feature = random.integers(0, len(CATEGORIES), nodes)
    for node in np.flatnonzero(CATEGORIES[feature] > 0).tolist():
        sets[node] = random.random(CATEGORIES[feature[node]] + 2) < 0.5
    value = random.normal(size=(nodes, width)).astype(np.float32)
    threshold = random.choice(EDGES, nodes)
    return Tree(np.array(left), np.array(right), feature, threshold, random.random(nodes) < 0.5, value, output, sets)


def rows(random: np.random.Generator, count: int) -> np.ndarray:
    numbers = random.choice(np.append(EDGES[1:-1], np.nan), (count, 2))
    categories = random.choice([np.nan, -1, -0.5, 0, 1, 2.5, 3, 4, 5, 6, 39, 40, 1e9, 3e38], (count, 2))
    return np.concatenate([numbers, categories], 1).astype(np.float32)


def walk(tree: Tree, row: np.ndarray, fractions: bool = True) -> np.ndarray:
    """The values of the leaf that one row comes to."""
    node = 0
    while tree.left[node] != -1:
        value, categories = float(row[tree.feature[node]]), int(CATEGORIES[tree.feature[node]])
        if categories:
            known = 0 <= value < categories and (fractions or value == math.floor(value))
            code = categories + 1 if math.isnan(value) else int(value) if known else categories
            right = tree.sets[node][code]
        else:
            right = not (tree.missing_left[node] if math.isnan(value) else value < tree.threshold[node])
        node = tree.right[node] if right else tree.left[node]
    return tree.value[node]


def ensemble_of(random: np.random.Generator, depth: int, sums: int, wide: bool, link: Link = "identity"):
    """Trees, and their table; the outputs' trees come in no order."""
    trees = [grow(random, depth, sums if wide else 1, 0 if wide else int(random.integers(0, sums))) for _ in range(12)]
    return trees, plant(trees, random.normal(size=sums).astype(np.float32), CATEGORIES, link)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 4), st.booleans(), st.booleans())
def test_random_trees_walk_as_they_were_given(seed: int, depth: int, sums: int, wide: bool, fractions: bool) -> None:
    random = np.random.default_rng(seed)
    trees, table = ensemble_of(random, depth, sums, wide and sums > 1)
    table = replace(table, fractions=fractions)
    features = rows(random, 20)
    for row, answer in zip(features, predict(table, features), strict=True):
        expected = table.base.copy()
        for tree in trees:
            values = walk(tree, row, fractions)
            expected[slice(None) if len(values) > 1 else tree.output] += values if len(values) > 1 else values[0]
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    ("depth", "sums", "wide", "dtype"),
    [
        (1, 1, False, np.float32),
        (5, 3, False, np.float64),
        (4, 2, True, np.float32),
        (12, 1, False, np.float32),
        (12, 3, True, np.float64),
    ],
)
def test_kernels_form_the_same_sums(depth: int, sums: int, wide: bool, dtype: type, compiled_trees: Callable) -> None:
    random = np.random.default_rng(depth * 10 + sums)
    _, table = ensemble_of(random, depth, sums, wide)
    table = replace(table, base=table.base.astype(dtype), fractions=dtype == np.float32)
    features = rows(random, 700)
    for name, run in compiled_trees(table).items():
        np.testing.assert_array_equal(run(features), predict(table, features), err_msg=name)
    by_onnx = model(tree_onnx.to_onnx(table))(features)
    np.testing.assert_allclose(by_onnx, predict(table, features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("link", get_args(Link))
def test_links(link: Link, compiled_trees: Callable) -> None:
    random = np.random.default_rng(1)
    _, table = ensemble_of(random, 3, 1 if link in ("sigmoid", "isolation") else 4, False, link)
    features = rows(random, 100)
    for scale in (1, 100):
        scaled = replace(table, base=table.base * np.float32(scale) / 2)
        expected = predict(scaled, features)
        for name, run in compiled_trees(scaled).items():
            np.testing.assert_allclose(run(features), expected, rtol=1e-6, atol=1e-37, err_msg=name)
        by_onnx = model(tree_onnx.to_onnx(scaled))(features)
        np.testing.assert_allclose(by_onnx, expected, rtol=2e-5, atol=1e-6)


def test_a_tree_as_deep_as_can_be(compiled_trees: Callable) -> None:
    """Its left branch alone is 64 deep: a complete tree would have 2**64 leaves, the table has 129 nodes."""
    inner = np.arange(MAX_DEPTH)
    left, right = np.full(2 * MAX_DEPTH + 1, -1), np.full(2 * MAX_DEPTH + 1, -1)
    left[2 * inner], right[2 * inner] = 2 * inner + 2, 2 * inner + 1
    nodes = len(left)
    threshold, value = -np.arange(nodes, dtype=np.float32), np.arange(nodes, dtype=np.float32).reshape(-1, 1)
    missing, feature = np.ones(nodes, bool), np.zeros(nodes, int)
    tree = Tree(left, right, feature, threshold, missing, value)
    table = plant([tree] * 40, np.zeros(1, np.float32), np.zeros(1, int))
    features = np.append(np.arange(-200, 5), np.nan).astype(np.float32).reshape(-1, 1)
    assert (table.depth, len(table.child)) == (MAX_DEPTH, 40 * nodes)
    for run in compiled_trees(table).values():
        np.testing.assert_array_equal(run(features), predict(table, features))
    with pytest.raises(Unsupported, match="deep"):
        deeper = replace(tree, left=np.append(left, [-1, -1]), right=np.append(right, [-1, -1]))
        deeper.left[nodes - 1], deeper.right[nodes - 1] = nodes, nodes + 1
        plant([deeper], np.zeros(1, np.float32), np.zeros(1, int))


@pytest.mark.parametrize(
    ("categories", "base", "error"),
    [
        (np.zeros(MAX_FEATURES + 1, int), np.zeros(1), Unsupported),
        (np.array([0, 0, 5, MAX_CATEGORIES + 1]), np.zeros(1), Unsupported),
        (CATEGORIES, np.zeros(0), InvalidData),
        (CATEGORIES, np.array([np.nan]), InvalidData),
        (CATEGORIES[:1], np.zeros(1), InvalidData),
    ],
)
def test_ensembles_that_are_none(categories: np.ndarray, base: np.ndarray, error: type[Exception]) -> None:
    trees = [grow(np.random.default_rng(0), 5)]
    with pytest.raises(error):
        plant(trees, base, categories)


def test_no_trees() -> None:
    with pytest.raises(InvalidData, match="no trees"):
        plant([], np.zeros(1, np.float32), CATEGORIES)
