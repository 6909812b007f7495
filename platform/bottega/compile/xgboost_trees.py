"""XGBoost models as trees: UBJ or JSON bytes to the one form, without XGBoost."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bottega.compile.trees import MAX_CATEGORIES, Ensemble, Link, Tree, plant
from bottega.compile.ubjson import decode
from bottega.errors import InvalidData, Unsupported

OBJECTIVES: Mapping[str, Link] = MappingProxyType(
    {
        "reg:squarederror": "identity",
        "reg:squaredlogerror": "identity",
        "reg:absoluteerror": "identity",
        "reg:pseudohubererror": "identity",
        "reg:quantileerror": "identity",
        "reg:expectileerror": "identity",
        "reg:logistic": "sigmoid",
        "reg:gamma": "exp",
        "reg:tweedie": "exp",
        "count:poisson": "exp",
        "survival:cox": "exp",
        "survival:aft": "exp",
        "binary:logistic": "sigmoid",
        "binary:logitraw": "identity",
        "binary:hinge": "step",
        "multi:softprob": "softmax",
        "multi:softmax": "argmax",
        "rank:pairwise": "identity",
        "rank:ndcg": "identity",
        "rank:map": "identity",
    }
)
"""Objectives, and what makes an answer of the sums of the leaves."""


def read_xgboost(model: bytes) -> Ensemble:
    """The trees of an XGBoost model in UBJ or JSON.

    Raises InvalidData for bytes that are no model, Unsupported for a booster, an objective or a size beyond what this
    compiler does.
    """
    try:
        return _parse(_decode(model))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise InvalidData(f"The bytes are no XGBoost model: {type(error).__name__}: {error}.") from None


def _decode(model: bytes) -> Any:
    is_json = model[:1] == b"{" and model[1:].lstrip()[:1] == b'"'
    return json.loads(model) if is_json else decode(model)


def _parse(document: Any) -> Ensemble:
    learner = document["learner"]
    booster = learner["gradient_booster"]
    name, objective, parameters = booster["name"], learner["objective"]["name"], learner["learner_model_param"]
    if name not in ("gbtree", "dart"):
        raise Unsupported(f"The booster is {name!r}.", next_step="Train with booster='gbtree' or 'dart'.")
    if objective not in OBJECTIVES:
        raise Unsupported(f"The objective is {objective!r}.", next_step=f"Train with one of {', '.join(OBJECTIVES)}.")
    link, model = OBJECTIVES[objective], booster["gbtree"]["model"] if name == "dart" else booster["model"]
    outputs = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    weights = booster["weight_drop"] if name == "dart" else [1.0] * len(model["trees"])
    categories = _categories(model["trees"], int(parameters["num_feature"]))
    trees = [
        _tree(tree, int(output), np.float32(weight), categories)
        for tree, output, weight in zip(model["trees"], model["tree_info"], weights, strict=True)
    ]
    return plant(trees, _base(parameters["base_score"], link, outputs), categories, link)


def _base(text: str, link: Link, outputs: int) -> np.ndarray:
    """The start of each sum; the model holds it as an answer."""
    score = np.array(json.loads(text), np.float32).reshape(-1)
    if len(score) not in (1, outputs):
        raise ValueError(f"{len(score)} base scores for {outputs} outputs")
    one = np.float32(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if link == "sigmoid":
            score = -np.log(one / score - one)
        if link == "exp":
            score = np.log(score)
    return np.ascontiguousarray(np.broadcast_to(score, outputs), np.float32)


def _categories(trees: list[dict], features: int) -> np.ndarray:
    """How many categories each feature's sets speak of."""
    counts = np.zeros(features, np.int64)
    for tree in trees:
        for node, start, size in _segments(tree):
            members = np.asarray(tree["categories"][start : start + size], np.int64)
            if not 0 <= members.min(initial=0) <= members.max(initial=0) < MAX_CATEGORIES:
                raise Unsupported(
                    f"A split names category {members.max()}; numbers from 0 to {MAX_CATEGORIES - 1} are compiled.",
                    next_step="Number the categories from 0 on.",
                )
            feature = tree["split_indices"][node]
            counts[feature] = max(counts[feature], members.max(initial=-1) + 1)
    return counts


def _segments(tree: dict) -> list[tuple[int, int, int]]:
    """Node, start and size of each set of categories."""
    if not np.any(tree["split_type"]):
        return []
    names = ("categories_nodes", "categories_segments", "categories_sizes")
    return list(zip(*(np.asarray(tree[name], np.int64).tolist() for name in names), strict=True))


def _tree(tree: dict, output: int, weight: np.float32, categories: np.ndarray) -> Tree:
    left, width = np.asarray(tree["left_children"], np.int64), int(tree["tree_param"]["size_leaf_vector"])
    right, conditions = np.asarray(tree["right_children"], np.int64), np.asarray(tree["split_conditions"], np.float32)
    value = conditions[:, None]
    if width > 1:
        vectors = np.asarray(tree["leaf_weights"], np.float32).reshape(-1, width)
        value = vectors[np.where(left == -1, right, 0)]
    return Tree(
        left=left,
        right=right,
        feature=np.asarray(tree["split_indices"], np.int64),
        threshold=conditions,
        missing_left=np.asarray(tree["default_left"], bool),
        value=value * weight,
        output=output,
        sets=_sets(tree, categories),
    )


def _sets(tree: dict, categories: np.ndarray) -> dict[int, np.ndarray]:
    """Categories in a node's set go right, others and unknown ones left, missing ones to the default side."""
    sets = {}
    for node, start, size in _segments(tree):
        count = categories[tree["split_indices"][node]]
        right = np.zeros(count + 2, bool)
        right[np.asarray(tree["categories"][start : start + size], np.int64)] = True
        right[-1] = not tree["default_left"][node]
        sets[node] = right
    return sets
