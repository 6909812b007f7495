"""scikit-learn's tree ensembles as plain arrays, so that what compiles or serves them needs neither it nor a pickle.

`export_ensemble` gives the bytes of an .npz file:

| array | shape | meaning |
| --- | --- | --- |
| `size` | (trees,) int64 | nodes of each tree; the tables of all trees follow each other |
| `output` | (trees,) int64 | the output that a tree adds to, 0 where leaves hold a value for each |
| `left`, `right` | (nodes,) int64 | children, counted from the tree's root at 0; -1 at a leaf |
| `feature` | (nodes,) int64 | the column that is compared |
| `threshold` | (nodes,) float32 | a row goes left where its value is *below* this |
| `missing_left` | (nodes,) bool | where a missing value goes |
| `value` | (nodes, 1 or outputs) float64 | added at a leaf |
| `base` | (outputs,) float64 | where each sum starts |
| `categories` | (features,) int64 | number of categories, 0 for a number |
| `set_node` | (sets,) int64 | nodes that split by category |
| `set` | flat bool | what goes right at each: the feature's categories, any other value, a missing one |
| `link` | text | what makes the answer of the sums: identity, exp, softmax, isolation |
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted

from bottega.errors import Unsupported

_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_TREES = (DecisionTreeClassifier, DecisionTreeRegressor)
_LINKS = {"squared_error": "identity", "absolute_error": "identity", "quantile": "identity"}
_LOGARITHMS = {"gamma": "exp", "poisson": "exp"}


@dataclass(frozen=True)
class _Tree:
    """The table of one tree; `sets` has the categories that go right, by node."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray  # (nodes, values) float64
    output: int = 0
    sets: dict[int, np.ndarray] = field(default_factory=dict)


def export_ensemble(estimator: Any) -> bytes:
    """A fitted estimator as the bytes of an .npz file.

    A regressor answers as by `predict`, a classifier as by `predict_proba`, an isolation forest as by `score_samples`.
    Raises Unsupported for another estimator, or for one whose answer is more than a sum of trees.
    """
    check_is_fitted(estimator)
    if isinstance(estimator, _FORESTS):
        return _forest(estimator, estimator.estimators_)
    if isinstance(estimator, _TREES):
        return _forest(estimator, [estimator])
    if isinstance(estimator, (GradientBoostingClassifier, GradientBoostingRegressor)):
        return _boosting(estimator)
    if isinstance(estimator, (HistGradientBoostingClassifier, HistGradientBoostingRegressor)):
        return _histogram_boosting(estimator)
    if isinstance(estimator, IsolationForest):
        return _isolation(estimator)
    raise Unsupported(
        f"{type(estimator).__name__} is no tree ensemble that is compiled.",
        next_step="Use a decision tree, random forest, extra trees, (histogram) gradient boosting or isolation forest.",
    )


def below(thresholds: np.ndarray) -> np.ndarray:
    """The float32 `t` for which `x < t` is the same as `x <= threshold`, for every float32 `x`.

    scikit-learn compares float32 values with float64 thresholds.
    """
    with np.errstate(over="ignore"):
        largest = thresholds.astype(np.float32)
        largest = np.where(largest > thresholds, np.nextafter(largest, np.float32(-np.inf)), largest)
        return np.nextafter(largest, np.float32(np.inf))


def _forest(estimator: Any, members: Sequence[Any]) -> bytes:
    """The mean of the trees: each leaf is divided by their number."""
    if np.ndim(getattr(estimator, "n_classes_", 0)):
        raise Unsupported("The forest has several outputs of classes.", next_step="Train a forest for each output.")
    trees = [_from_tree(member.tree_, _values(member.tree_) / len(members)) for member in members]
    categories = np.zeros(estimator.n_features_in_, np.int64)
    return _pack(trees, np.zeros(trees[0].value.shape[1]), categories, "identity")


def _values(tree: Any) -> np.ndarray:
    """(nodes, outputs), or (nodes, classes) of the only output."""
    return tree.value[:, 0, :] if tree.value.shape[1] == 1 else tree.value[:, :, 0]


def _from_tree(tree: Any, value: np.ndarray, output: int = 0) -> _Tree:
    inner = tree.children_left != -1
    return _Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=np.where(inner, tree.feature, 0),
        threshold=below(np.where(inner, tree.threshold, 0.0)),
        missing_left=tree.missing_go_to_left.astype(bool),
        value=value,
        output=output,
    )


def _boosting(estimator: Any) -> bytes:
    if estimator.init_ != "zero" and not isinstance(estimator.init_, (DummyClassifier, DummyRegressor)):
        raise Unsupported(
            f"The boosting starts from a {type(estimator.init_).__name__}.", next_step="Train with init=None or 'zero'."
        )
    features = estimator.n_features_in_
    base = estimator._raw_predict_init(np.zeros((1, features), np.float32)).reshape(-1)
    scale = estimator.learning_rate
    if estimator.loss == "exponential":  # its probability is that of twice the sum
        base, scale = 2 * base, 2 * scale
    trees = [
        _from_tree(member.tree_, member.tree_.value[:, :, 0] * scale, output)
        for stage in estimator.estimators_
        for output, member in enumerate(stage)
    ]
    is_classifier = isinstance(estimator, GradientBoostingClassifier)
    return _boosted(trees, base, np.zeros(features, np.int64), "softmax" if is_classifier else "identity")


def _boosted(trees: list[_Tree], base: np.ndarray, categories: np.ndarray, link: str) -> bytes:
    """Of two classes the first has the sum 0: the softmax of it and the only sum is the sigmoid of that."""
    if link == "softmax" and len(base) == 1:
        base = np.array([0.0, base[0]])
        trees = [_Tree(**{**vars(tree), "output": 1}) for tree in trees]
    return _pack(trees, base, categories, link)


def _histogram_boosting(estimator: Any) -> bytes:
    link = "softmax"
    if isinstance(estimator, HistGradientBoostingRegressor):
        link = (_LINKS | _LOGARITHMS).get(estimator.loss, "")
    if not link:
        raise Unsupported(f"The loss is {estimator.loss!r}.", next_step="Train with one of scikit-learn's own losses.")
    columns = _Columns(estimator)
    trees = [
        _from_nodes(predictor, columns, output)
        for stage in estimator._predictors
        for output, predictor in enumerate(stage)
    ]
    return _boosted(trees, estimator._baseline_prediction.reshape(-1), columns.categories, link)


class _Columns:
    """Columns as the trees number them: categorical ones come first, and their values are numbered from 0."""

    def __init__(self, estimator: Any) -> None:
        count = estimator.n_features_in_
        self.categories = np.zeros(count, np.int64)
        self.source = np.arange(count)
        self.values: dict[int, np.ndarray] = {}
        if estimator.is_categorical_ is None:
            return
        asked, others = np.flatnonzero(estimator.is_categorical_), np.flatnonzero(~estimator.is_categorical_)
        self.source = np.concatenate([asked, others])
        encoder = estimator._preprocessor.named_transformers_["encoder"]
        for feature, found in zip(asked.tolist(), encoder.categories_, strict=True):
            self.values[feature] = self._whole(feature, found)
            self.categories[feature] = self.values[feature].max(initial=-1) + 1

    def _whole(self, feature: int, found: np.ndarray) -> np.ndarray:
        """The categories in order, without the missing one."""
        if found.dtype.kind not in "biuf":
            raise Unsupported(
                f"The categories of feature {feature} are {found.dtype}.",
                next_step="Number them from 0 before training.",
            )
        values = found[~np.isnan(found)] if found.dtype.kind == "f" else found
        if (values < 0).any() or (values != np.floor(values)).any() or (values > 2**24).any():
            raise Unsupported(
                f"The categories of feature {feature} are not all whole numbers from 0 on.",
                next_step="Number them before training.",
            )
        return values.astype(np.int64)


def _from_nodes(predictor: Any, columns: _Columns, output: int) -> _Tree:
    """A threshold of infinity parts missing values from all others: it is said as below -infinity, sides exchanged."""
    nodes = predictor.nodes
    inner, asks = ~nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
    left, right = (np.where(inner, nodes[side].astype(np.int64), -1) for side in ("left", "right"))
    missing_left = nodes["missing_go_to_left"].astype(bool)
    feature = np.where(inner, columns.source[np.where(inner, nodes["feature_idx"], 0)], 0)
    number = inner & ~asks
    threshold = below(np.where(number, nodes["num_threshold"], 0.0))
    turned = number & np.isposinf(nodes["num_threshold"])
    left, right = np.where(turned, right, left), np.where(turned, left, right)
    threshold = np.where(turned, np.float32(-np.inf), threshold)
    missing_left = np.where(turned, ~missing_left, missing_left)
    sets = {}
    for node in np.flatnonzero(inner & asks):
        values = columns.values[feature[node]]
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]].astype("<u4")
        goes_left = np.unpackbits(words.view(np.uint8), bitorder="little").astype(bool)[: len(values)]
        bits = np.full(columns.categories[feature[node]] + 2, not missing_left[node])
        bits[values] = ~goes_left
        sets[int(node)] = bits
    return _Tree(left, right, feature, threshold, missing_left, nodes["value"].reshape(-1, 1), output, sets)


def _isolation(estimator: Any) -> bytes:
    """-2 ** (-mean depth / typical depth): each leaf holds its share of the exponent of e.

    Liu, Ting, Zhou: Isolation Forest, ICDM 2008.
    """
    typical = _typical_depth(np.array([estimator._max_samples]))[0]
    if typical == 0:
        raise Unsupported("The forest's trees saw one row each.", next_step="Train with max_samples of 2 or more.")
    trees = []
    for member, features in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        tree = member.tree_
        depth = np.zeros(tree.node_count)
        for node in np.flatnonzero(tree.children_left != -1):  # parents come before their children
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        share = (depth + _typical_depth(tree.n_node_samples)) * (-np.log(2) / typical / len(estimator.estimators_))
        found = _from_tree(tree, share.reshape(-1, 1))
        trees.append(_Tree(**{**vars(found), "feature": np.asarray(features)[found.feature]}))
    return _pack(trees, np.zeros(1), np.zeros(estimator.n_features_in_, np.int64), "isolation")


def _typical_depth(rows: np.ndarray) -> np.ndarray:
    """The mean depth of a search that finds nothing in a random tree of this many rows."""
    many = np.maximum(rows, 3).astype(np.float64)
    depth = 2 * (np.log(many - 1) + np.euler_gamma) - 2 * (many - 1) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, depth))


def _pack(trees: Sequence[_Tree], base: np.ndarray, categories: np.ndarray, link: str) -> bytes:
    if not trees:
        raise Unsupported("The ensemble has no trees.", next_step="Train at least one.")
    sizes = np.array([len(tree.left) for tree in trees], np.int64)
    starts = np.cumsum(sizes) - sizes
    sets = [(start + node, bits) for start, tree in zip(starts, trees, strict=True) for node, bits in tree.sets.items()]
    joined = {
        name: np.concatenate([getattr(tree, name) for tree in trees]).astype(kind)
        for name, kind in (
            ("left", np.int64),
            ("right", np.int64),
            ("feature", np.int64),
            ("threshold", np.float32),
            ("missing_left", np.bool_),
            ("value", np.float64),
        )
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        size=sizes,
        output=np.array([tree.output for tree in trees], np.int64),
        base=np.asarray(base, np.float64),
        categories=categories,
        set_node=np.array([node for node, _ in sets], np.int64),
        set=np.concatenate([np.zeros(0, bool), *(bits for _, bits in sets)]),
        link=np.array(link),
        **joined,
    )
    return content.getvalue()
