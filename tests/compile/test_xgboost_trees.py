"""XGBoost models: what is read, compiled and given to ONNX answers as XGBoost does, its sums bit for bit."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import xgboost

from bottega.compile import tree_onnx
from bottega.compile.onnx_engine import model
from bottega.compile.trees import predict
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import InvalidData, Unsupported

WIDTH = 7
CATEGORY = 6
CATEGORIES = 40
AS_CATEGORIES = {"feature_types": ["q"] * CATEGORY + ["c"], "enable_categorical": True}
DRAWN = np.random.default_rng(0).normal(size=1500)


def rows(count: int, seed: int, missing: float = 0.1) -> np.ndarray:
    """The last column holds categories."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, WIDTH)).astype(np.float32)
    features[:, CATEGORY] = random.integers(0, CATEGORIES, count)
    features[random.random(features.shape) < missing] = np.nan
    return features


def label(features: np.ndarray) -> np.ndarray:
    filled = np.nan_to_num(features)
    return filled[:, 0] * 10 + np.abs(filled[:, 1]) + filled[:, CATEGORY] % 3 * 5 + 300


def train(rounds: int = 37, y: np.ndarray | None = None, categories: bool = False, **settings: object):
    features = rows(1500, seed=0)
    y = label(features) if y is None else y
    options = {"max_depth": 6, "nthread": 1, "tree_method": "hist", **settings}
    return xgboost.train(options, xgboost.DMatrix(features, y, **(AS_CATEGORIES if categories else {})), rounds)


def ubj(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


def reference(booster: xgboost.Booster, features: np.ndarray) -> np.ndarray:
    return np.asarray(booster.inplace_predict(features), np.float32).reshape(len(features), -1)


@pytest.fixture
def assert_equal(compiled_trees: Callable) -> Callable:
    """The definition in numpy and both kernels against XGBoost, bit for bit unless told; ONNX Runtime's are near."""

    def check(booster: xgboost.Booster, features: np.ndarray, tolerance: float = 0.0, compiled: bool = True) -> None:
        ensemble, expected = read_xgboost(ubj(booster)), reference(booster, features)
        runs = {"numpy": lambda x: predict(ensemble, x), **(compiled_trees(ensemble) if compiled else {})}
        for name, run in runs.items():
            np.testing.assert_allclose(run(features), expected, rtol=tolerance, atol=tolerance, err_msg=name)
        by_onnx = model(tree_onnx.to_onnx(ensemble))(features)
        np.testing.assert_allclose(by_onnx, expected, rtol=1e-5, atol=1e-5, err_msg="ONNX Runtime")

    return check


@pytest.mark.parametrize("depth", [1, 8, 9])
def test_every_depth(depth: int, assert_equal: Callable) -> None:
    assert_equal(train(max_depth=depth, min_child_weight=0), rows(333, seed=1))


@pytest.mark.parametrize("objective", ["reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror"])
def test_objectives_that_add_up(objective: str, assert_equal: Callable) -> None:
    assert_equal(train(objective=objective), rows(65, seed=2), compiled=False)


@pytest.mark.parametrize("objective", ["count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"])
def test_objectives_with_a_logarithm(objective: str, assert_equal: Callable) -> None:
    assert_equal(train(rounds=20, objective=objective), rows(65, seed=2), 1e-6, compiled=objective == "reg:gamma")


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:logistic", "binary:logitraw", "binary:hinge"])
def test_two_classes(objective: str, assert_equal: Callable) -> None:
    assert_equal(
        train(objective=objective, y=DRAWN > 0.3, max_depth=4), rows(65, seed=2), 1e-6, objective != "reg:logistic"
    )


@pytest.mark.parametrize(("objective", "classes"), [("multi:softprob", 10), ("multi:softmax", 3)])
def test_many_classes(objective: str, classes: int, assert_equal: Callable) -> None:
    y = np.random.default_rng(0).integers(0, classes, 1500)
    assert_equal(train(rounds=9, y=y, objective=objective, num_class=classes, max_depth=4), rows(65, seed=2), 1e-6)


@pytest.mark.parametrize("objective", ["rank:pairwise", "rank:ndcg"])
def test_rankings(objective: str, assert_equal: Callable) -> None:
    features = rows(1500, seed=0)
    data = xgboost.DMatrix(features, np.random.default_rng(0).integers(0, 4, 1500), qid=np.arange(1500) // 15)
    booster = xgboost.train({"objective": objective, "max_depth": 4, "nthread": 1}, data, 20)
    assert_equal(booster, rows(65, seed=2), compiled=False)


def test_several_outputs_have_trees_of_their_own(assert_equal: Callable) -> None:
    booster = train(objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9])
    assert read_xgboost(ubj(booster)).outputs == 3
    assert_equal(booster, rows(65, seed=2))


@pytest.mark.parametrize("depth", [5, 11])
def test_leaves_that_hold_a_vector(depth: int, assert_equal: Callable) -> None:
    y = np.random.default_rng(0).normal(size=(1500, 3))
    booster = train(rounds=5, y=y, multi_strategy="multi_output_tree", max_depth=depth, min_child_weight=0)
    assert_equal(booster, rows(65, seed=2))


def test_a_forest_that_is_boosted(assert_equal: Callable) -> None:
    assert_equal(train(rounds=3, num_parallel_tree=7, subsample=0.7), rows(65, seed=2), compiled=False)


def test_trees_that_were_dropped_in_training_weigh_less(assert_equal: Callable) -> None:
    assert_equal(train(booster="dart", rate_drop=0.5), rows(65, seed=2), 1e-6, compiled=False)


def test_leafwise_trees_of_uneven_depth(assert_equal: Callable) -> None:
    assert_equal(train(grow_policy="lossguide", max_leaves=9, max_depth=8), rows(65, seed=3))


def test_one_tree_that_is_deep_on_one_side_only(assert_equal: Callable) -> None:
    x = np.arange(40, dtype=np.float32).reshape(-1, 1)
    leafwise = {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0, "min_child_weight": 0, "lambda": 0}
    booster = xgboost.train({"nthread": 1, **leafwise}, xgboost.DMatrix(x, 2.0 ** x[:, 0]), 1)
    assert read_xgboost(ubj(booster)).depth > 8
    assert_equal(booster, np.append(x, [[np.nan]], 0).astype(np.float32))


def test_trees_that_are_a_single_leaf(assert_equal: Callable) -> None:
    booster = train(y=np.full(1500, 7.25, np.float32))
    assert read_xgboost(ubj(booster)).depth == 0
    assert_equal(booster, rows(5, seed=4))


def test_a_model_of_one_feature(assert_equal: Callable) -> None:
    features = rows(500, seed=0)[:, :1]
    booster = xgboost.train({"max_depth": 3, "nthread": 1}, xgboost.DMatrix(features, np.nan_to_num(features[:, 0])), 9)
    assert_equal(booster, rows(65, seed=3)[:, :1])


def test_values_equal_to_a_threshold_and_beyond_all_values(assert_equal: Callable) -> None:
    booster = train()
    thresholds = np.unique(read_xgboost(ubj(booster)).threshold)
    thresholds = thresholds[np.isfinite(thresholds)]
    near = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
    extreme = np.array([0.0, -0.0, 3e38, -3e38, 1e-45, np.nan], np.float32)
    random = np.random.default_rng(5)
    features = random.choice(np.concatenate([near, extreme]), (999, WIDTH)).astype(np.float32)
    assert_equal(booster, features)


def test_infinities_are_beyond_every_threshold(compiled_trees: Callable) -> None:
    ensemble = read_xgboost(ubj(train()))
    features = rows(99, seed=5)
    features[np.isnan(features)] = np.inf
    features[:50] *= -1
    largest = np.clip(features, np.finfo(np.float32).min, np.finfo(np.float32).max)
    for run in compiled_trees(ensemble).values():
        np.testing.assert_array_equal(run(features), predict(ensemble, largest))


def test_rows_that_are_missing_altogether(assert_equal: Callable) -> None:
    assert_equal(train(), np.full((3, WIDTH), np.nan, np.float32))


@pytest.mark.parametrize("depth", [6, 10])
@pytest.mark.parametrize("one_hot", [1, 100])
def test_categories_in_sets_and_one_by_one(depth: int, one_hot: int, assert_equal: Callable) -> None:
    booster = train(categories=True, max_depth=depth, max_cat_to_onehot=one_hot)
    features = rows(500, seed=6)
    features[:60, CATEGORY] = [-1, -0.5, 2.7, CATEGORIES - 1, CATEGORIES, 1e6, 1e9, 3e38, -3e38, np.nan] * 6
    assert (read_xgboost(ubj(booster)).first_bit >= 0).any()
    assert_equal(booster, features)


def test_categories_that_were_missing_in_training(assert_equal: Callable) -> None:
    features = rows(1500, seed=0)
    features[features[:, CATEGORY] > 20, CATEGORY] = np.nan
    booster = xgboost.train(
        {"max_depth": 5, "nthread": 1}, xgboost.DMatrix(features, label(rows(1500, seed=0)), **AS_CATEGORIES), 20
    )
    assert_equal(booster, rows(200, seed=7))


@pytest.mark.parametrize("depth", [4, 11])
def test_any_number_of_rows(depth: int, compiled_trees: Callable) -> None:
    booster = train(rounds=3, max_depth=depth)
    for run in compiled_trees(read_xgboost(ubj(booster))).values():
        for count in (1, 2, 31, 32, 33, 64, 257, 511, 512, 513, 1500):
            features = rows(count, seed=count)
            np.testing.assert_array_equal(run(features), reference(booster, features))


@pytest.mark.parametrize("categories", [False, True])
def test_json_and_ubj_are_the_same_model(categories: bool) -> None:
    booster, features = train(rounds=5, categories=categories), rows(99, seed=8)
    by_json = read_xgboost(bytes(booster.save_raw("json")))
    np.testing.assert_array_equal(predict(by_json, features), predict(read_xgboost(ubj(booster)), features))


def test_a_booster_that_is_not_compiled() -> None:
    data = xgboost.DMatrix(rows(100, seed=0, missing=0), np.arange(100))
    with pytest.raises(Unsupported, match="gblinear"):
        read_xgboost(ubj(xgboost.train({"booster": "gblinear", "nthread": 1}, data, 1)))


def test_an_objective_that_is_not_compiled() -> None:
    document = json.loads(bytes(train(rounds=1).save_raw("json")))
    document["learner"]["objective"]["name"] = "reg:of_the_future"
    with pytest.raises(Unsupported, match="of_the_future"):
        read_xgboost(json.dumps(document).encode())


def test_a_model_without_trees() -> None:
    with pytest.raises(InvalidData, match="no trees"):
        read_xgboost(ubj(train(rounds=0)))


def change(path: str, value: object) -> bytes:
    """A model of one tree, of whose JSON one entry is another."""
    document = json.loads(bytes(train(rounds=1, categories=True, max_cat_to_onehot=1).save_raw("json")))
    place = document["learner"]["gradient_booster"]["model"]["trees"][0]
    *names, last = path.split("/")
    for name in names:
        place = place[int(name) if name.isdigit() else name]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("split_conditions/0", float("nan"), InvalidData),
        ("split_indices/0", WIDTH, InvalidData),
        ("split_indices/0", -1, InvalidData),
        ("left_children/1", 0, InvalidData),
        ("right_children/0", -5, InvalidData),
        ("right_children/0", 10**9, InvalidData),
        ("categories/0", -1, Unsupported),
        ("categories/0", 2**40, Unsupported),
        ("tree_param/size_leaf_vector", "7", InvalidData),
    ],
)
def test_trees_that_are_none(path: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_xgboost(change(path, value))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"{", b"not a model", b'{"learner": 3}', b'{"' + b"[" * 10**5])
def test_bytes_that_are_no_model(damage: bytes) -> None:
    with pytest.raises(InvalidData):
        read_xgboost(damage)


@pytest.mark.parametrize("kind", ["ubj", "json"])
def test_damaged_bytes_never_do_more_than_raise(kind: str) -> None:
    content = bytes(train(rounds=2, max_depth=3, categories=True, max_cat_to_onehot=1).save_raw(kind))
    with pytest.raises(InvalidData):
        read_xgboost(content[: len(content) // 2])
    random = np.random.default_rng(7)
    for _ in range(300):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(0, 256)
        try:
            read_xgboost(bytes(damaged))
        except (InvalidData, Unsupported):
            continue
