"""The tree ensemble: 500 trees of depth 8 over 30 features, in XGBoost and in scikit-learn, and their exact answers.

Both are trained on the same drawn rows, of which some values are missing. scikit-learn cannot hold XGBoost's trees, so
it has 500 of its own, of the same depth and about as many leaves.
"""

import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np

TREES, DEPTH, FEATURES = 500, 8, 30
_ROWS, _BINS = 8_000, 32
_RATE = 0.05
_MISSING_SHARE = 0.05
BOOSTER, FOREST = "model.ubj", "forest.pickle"


def inputs(rows: int, seed: int) -> dict[str, np.ndarray]:
    """(rows, 30) float32, one value in twenty missing."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, FEATURES), np.float32)
    features[random.random(features.shape) < _MISSING_SHARE] = np.nan
    return {"features": features}


def train_booster(folder: Path, seed: int) -> None:
    """Write the XGBoost model."""
    import xgboost

    data = xgboost.QuantileDMatrix(*_training(seed), max_bin=_BINS, nthread=1)
    # min_child_weight: leaves of single rows, so that the trees fill their depth.
    options = {"max_depth": DEPTH, "eta": _RATE, "max_bin": _BINS, "min_child_weight": 0, "nthread": 1, "seed": seed}
    xgboost.train(options, data, TREES).save_model(folder / BOOSTER)


def train_forest(folder: Path, seed: int) -> None:
    """Write the scikit-learn model."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    forest = HistGradientBoostingRegressor(
        max_iter=TREES,
        max_depth=DEPTH,
        max_leaf_nodes=2**DEPTH,
        min_samples_leaf=1,
        learning_rate=_RATE,
        max_bins=_BINS,
        early_stopping=False,
        random_state=seed,
    )
    (folder / FOREST).write_bytes(pickle.dumps(forest.fit(*_training(seed))))


def load_forest(folder: Path):  # type: ignore[no-untyped-def]
    """The scikit-learn model that `train_forest` wrote."""
    return pickle.loads((folder / FOREST).read_bytes())


def booster_answer(folder: Path, features: np.ndarray) -> np.ndarray:
    """The leaves that XGBoost itself finds, added in float64: (rows, 1)."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1}, model_file=folder / BOOSTER)
    base, leaves = _leaves(folder / BOOSTER)
    found = booster.predict(xgboost.DMatrix(features, nthread=1), pred_leaf=True).astype(np.int64)
    return base + sum(leaves[tree][found[:, tree]] for tree in range(TREES))[:, None]


def forest_answer(folder: Path, features: np.ndarray) -> np.ndarray:
    """scikit-learn's trees walked in numpy, their leaves added in float64: (rows,)."""
    forest = load_forest(folder)
    answer = np.full(len(features), float(forest._baseline_prediction.item()))
    for (predictor,) in forest._predictors:
        answer += _walk(predictor.nodes, features)
    return answer


def _training(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((_ROWS, FEATURES), np.float32)
    target = (features[:, :10] ** 2).sum(1) + features[:, 0] * features[:, 1] + np.sin(3 * features[:, 2])
    target += random.standard_normal(_ROWS, np.float32)
    features[random.random(features.shape) < _MISSING_SHARE] = np.nan
    return features, target


@cache
def _leaves(path: Path) -> tuple[float, list[np.ndarray]]:
    """The base score, and for each tree the value of each node that is a leaf."""
    import xgboost

    learner = json.loads(xgboost.Booster(model_file=path).save_raw("json"))["learner"]
    (base,) = json.loads(learner["learner_model_param"]["base_score"])
    trees = learner["gradient_booster"]["model"]["trees"]
    return base, [np.array(tree["split_conditions"], np.float32).astype(np.float64) for tree in trees]


def _walk(nodes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The leaf's value of each row; left where the value is at most the threshold."""
    rows, node = np.arange(len(features)), np.zeros(len(features), np.int64)
    for _ in range(DEPTH):
        here = nodes[node]
        value = features[rows, here["feature_idx"]]
        left = np.where(np.isnan(value), here["missing_go_to_left"] == 1, value <= here["num_threshold"])
        node = np.where(here["is_leaf"] == 1, node, np.where(left, here["left"], here["right"]))
    return nodes[node]["value"]
