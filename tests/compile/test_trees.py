"""Trees: parsed tables, kernels and the ONNX graph against XGBoost, bit for bit where the order of sums is the same."""

from pathlib import Path

import numpy as np
import pytest
import xgboost

from bottega.compile import native, tree_kernels, tree_onnx
from bottega.compile.calls import matrix_function
from bottega.compile.onnx_engine import model
from bottega.compile.program import Program
from bottega.compile.runtime import CONSTANTS, KERNELS, load_natives
from bottega.compile.target import host
from bottega.compile.trees import Ensemble, predict, read_xgboost
from bottega.errors import InvalidData, Unsupported

WIDTH = 7


def rows(count: int, seed: int, missing: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, WIDTH)).astype(np.float32)
    features[random.random(features.shape) < missing] = np.nan
    return features


def train(rounds: int = 37, label: np.ndarray | None = None, **settings: object) -> xgboost.Booster:
    features = rows(1500, seed=0)
    if label is None:
        label = np.nan_to_num(features[:, 0]) * 10 + np.abs(np.nan_to_num(features[:, 1])) + 300
    options = {"max_depth": 6, "nthread": 1, "tree_method": "hist", **settings}
    return xgboost.train(options, xgboost.DMatrix(features, label), rounds)


def ubj(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


def reference(booster: xgboost.Booster, features: np.ndarray) -> np.ndarray:
    return np.asarray(booster.inplace_predict(features), np.float32).reshape(len(features), -1)


def kernels(ensemble: Ensemble, folder: Path) -> dict:
    program = Program()
    tree_kernels.add_trees(program, ensemble)
    native.build(program.module(), host(), folder / KERNELS)
    np.savez(folder / CONSTANTS, allow_pickle=False, **program.constants)
    natives = load_natives(folder, program.entries)
    return {name: matrix_function(n, ensemble.features, ensemble.outputs) for name, n in natives.items()}


def assert_all_equal(booster: xgboost.Booster, features: np.ndarray, folder: Path) -> None:
    """Tables in numpy and both kernels are XGBoost's answers, bit for bit; ONNX Runtime's are near."""
    ensemble, expected = read_xgboost(ubj(booster)), reference(booster, features)
    np.testing.assert_array_equal(predict(ensemble, features), expected)
    for run in kernels(ensemble, folder).values():
        np.testing.assert_array_equal(run(features), expected)
    np.testing.assert_allclose(model(tree_onnx.to_onnx(ensemble))(features), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_every_depth_equals_xgboost(depth: int, tmp_path: Path) -> None:
    assert_all_equal(train(max_depth=depth), rows(333, seed=1), tmp_path)


@pytest.mark.parametrize("objective", ["reg:absoluteerror", "reg:pseudohubererror"])
def test_objectives_with_a_base_score(objective: str, tmp_path: Path) -> None:
    assert_all_equal(train(objective=objective), rows(65, seed=2), tmp_path)


def test_several_outputs_have_trees_of_their_own(tmp_path: Path) -> None:
    booster = train(objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9])
    assert read_xgboost(ubj(booster)).outputs == 3
    assert_all_equal(booster, rows(65, seed=2), tmp_path)


def test_leafwise_trees_of_uneven_depth(tmp_path: Path) -> None:
    booster = train(grow_policy="lossguide", max_leaves=9, max_depth=8)
    assert_all_equal(booster, rows(65, seed=3), tmp_path)


def test_one_tree_that_is_deep_on_one_side_only(tmp_path: Path) -> None:
    label = np.nan_to_num(rows(1500, seed=0)[:, 0])
    booster = train(rounds=1, label=np.exp(3 * label), grow_policy="lossguide", max_leaves=7, max_depth=8)
    assert read_xgboost(ubj(booster)).depth > 3
    assert_all_equal(booster, rows(65, seed=3), tmp_path)


def test_trees_that_are_a_single_leaf(tmp_path: Path) -> None:
    booster = train(label=np.full(1500, 7.25, np.float32))
    assert read_xgboost(ubj(booster)).depth == 1
    assert_all_equal(booster, rows(5, seed=4), tmp_path)


def test_values_equal_to_a_threshold_and_beyond_all_values(tmp_path: Path) -> None:
    booster = train()
    thresholds = np.unique(read_xgboost(ubj(booster)).threshold)
    thresholds = thresholds[np.isfinite(thresholds)]
    near = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
    extreme = np.array([0.0, -0.0, 3e38, -3e38, 1e-45], np.float32)
    random = np.random.default_rng(5)
    features = random.choice(np.concatenate([near, extreme]), (999, WIDTH)).astype(np.float32)
    assert_all_equal(booster, features, tmp_path)


def test_rows_that_are_missing_altogether(tmp_path: Path) -> None:
    assert_all_equal(train(), np.full((3, WIDTH), np.nan, np.float32), tmp_path)


def test_any_number_of_rows(tmp_path: Path) -> None:
    booster = train(rounds=3)
    for run in kernels(read_xgboost(ubj(booster)), tmp_path).values():
        for count in (1, 2, 31, 32, 33, 64, 257):
            features = rows(count, seed=count)
            np.testing.assert_array_equal(run(features), reference(booster, features))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_depth": 9}, "deep"),
        ({"booster": "dart"}, "booster"),
        ({"objective": "reg:gamma"}, "objective"),
        ({"multi_strategy": "multi_output_tree", "label": "two"}, "vector"),
    ],
)
def test_what_is_not_compiled_is_refused(settings: dict, reason: str) -> None:
    if settings.get("label") == "two":
        settings = {**settings, "label": np.random.default_rng(0).normal(size=(1500, 2))}
    if settings.get("max_depth") == 9:
        settings = {**settings, "min_child_weight": 0, "label": np.random.default_rng(0).normal(size=1500)}
    with pytest.raises(Unsupported, match=reason):
        read_xgboost(ubj(train(rounds=2, **settings)))


def test_categorical_splits_are_refused() -> None:
    random = np.random.default_rng(0)
    category = random.integers(0, 5, 500)
    data = xgboost.DMatrix(category.reshape(-1, 1), category % 3, feature_types=["c"], enable_categorical=True)
    booster = xgboost.train({"tree_method": "hist", "max_cat_to_onehot": 1}, data, 2)
    with pytest.raises(Unsupported, match="categories"):
        read_xgboost(ubj(booster))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"{", b"not a model"])
def test_bytes_that_are_no_model(damage: bytes) -> None:
    with pytest.raises(InvalidData):
        read_xgboost(damage)


def test_a_model_cut_short() -> None:
    content = ubj(train(rounds=2))
    with pytest.raises(InvalidData):
        read_xgboost(content[: len(content) // 2])


def test_damaged_bytes_never_do_more_than_raise() -> None:
    content = ubj(train(rounds=2))
    random = np.random.default_rng(7)
    for _ in range(300):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(0, 256)
        try:
            read_xgboost(bytes(damaged))
        except (InvalidData, Unsupported):
            continue
