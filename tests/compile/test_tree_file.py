"""scikit-learn's ensembles, exported, read and compiled, answer as they do, to a few units of float32's last place."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.ensemble as ensembles
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from bottega.compile import tree_onnx
from bottega.compile.onnx_engine import model
from bottega.compile.tree_file import read_trees
from bottega.compile.trees import predict
from bottega.errors import InvalidData, Unsupported
from bottega.training.ensembles import below, export_ensemble

WIDTH, CATEGORY = 6, 5


def rows(count: int, seed: int, missing: float = 0.0) -> np.ndarray:
    """The last column holds categories from 3 to 39."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, WIDTH)).astype(np.float32)
    features[:, CATEGORY] = random.integers(3, 40, count)
    features[random.random(features.shape) < missing] = np.nan
    return features


X = rows(800, seed=0)
MISSING = rows(800, seed=0, missing=0.1)
Y = X[:, 0] + X[:, CATEGORY] % 3 + X[:, 1] * X[:, 2]
TWO, THREE = (Y > 1).astype(int), (X[:, CATEGORY] % 3).astype(int)
TEN = np.random.default_rng(3).integers(0, 10, 800)


@pytest.fixture
def assert_near(compiled_trees: Callable) -> Callable:
    """The definition in numpy and both kernels against scikit-learn, and ONNX Runtime, whose sums are in float32."""

    def check(estimator: Any, features: np.ndarray, method: str = "predict", compiled: bool = True) -> None:
        ensemble = read_trees(export_ensemble(estimator))
        expected = getattr(estimator, method)(features)
        expected = expected.reshape(len(features), -1)
        runs = {"numpy": lambda x: predict(ensemble, x), **(compiled_trees(ensemble) if compiled else {})}
        typical = np.abs(expected).mean()
        for name, run in runs.items():
            np.testing.assert_allclose(run(features), expected, rtol=3e-7, atol=3e-7 * typical, err_msg=name)
        by_onnx = model(tree_onnx.to_onnx(ensemble))(features)
        np.testing.assert_allclose(by_onnx, expected, rtol=5e-6, atol=5e-6 * typical, err_msg="ONNX Runtime")

    return check


@pytest.mark.parametrize("kind", [ensembles.RandomForestRegressor, ensembles.ExtraTreesRegressor])
def test_forests_with_missing_values(kind: type, assert_near: Callable) -> None:
    forest = kind(20, random_state=0).fit(MISSING, Y)
    assert_near(forest, rows(300, seed=1, missing=0.1), compiled=kind is ensembles.RandomForestRegressor)


def test_a_forest_of_several_outputs(assert_near: Callable) -> None:
    forest = ensembles.RandomForestRegressor(10, random_state=0).fit(X, np.stack([Y, -Y, Y**2], 1))
    assert_near(forest, rows(300, seed=1))


@pytest.mark.parametrize("classes", [TWO, THREE, TEN], ids=["two", "three", "ten"])
@pytest.mark.parametrize("depth", [5, None])
def test_forests_of_classes(classes: np.ndarray, depth: int | None, assert_near: Callable) -> None:
    forest = ensembles.RandomForestClassifier(10, max_depth=depth, random_state=0).fit(MISSING, classes)
    assert_near(forest, rows(300, seed=1, missing=0.1), "predict_proba", compiled=classes is not TWO)


def test_single_trees(assert_near: Callable) -> None:
    assert_near(DecisionTreeRegressor(random_state=0).fit(MISSING, Y), MISSING, compiled=False)
    assert_near(DecisionTreeClassifier(max_depth=3).fit(X, THREE), X, "predict_proba", compiled=False)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_boosted_regressions(loss: str, assert_near: Callable) -> None:
    boosted = ensembles.GradientBoostingRegressor(loss=loss, random_state=0).fit(X, Y)
    assert_near(boosted, rows(300, seed=1), compiled=loss == "huber")


@pytest.mark.parametrize(("loss", "classes"), [("log_loss", TWO), ("exponential", TWO), ("log_loss", THREE)])
def test_boosted_classes(loss: str, classes: np.ndarray, assert_near: Callable) -> None:
    boosted = ensembles.GradientBoostingClassifier(loss=loss, n_estimators=30, random_state=0).fit(X, classes)
    assert_near(boosted, rows(300, seed=1), "predict_proba", compiled=loss == "log_loss")


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson", "gamma"])
@pytest.mark.parametrize("categories", [None, [CATEGORY], [0, CATEGORY]])
def test_histogram_boosting(loss: str, categories: list[int] | None, assert_near: Callable) -> None:
    features, asked = MISSING.copy(), rows(300, seed=1, missing=0.1)
    asked[:60, CATEGORY] = [0, 3, 2.5, 40, 100, -1] * 10
    if categories and 0 in categories:
        features[:, 0], asked[:, 0] = features[:, 1] > 0, np.arange(300) % 4
    boosted = ensembles.HistGradientBoostingRegressor(
        loss=loss, max_iter=15, categorical_features=categories, random_state=0
    ).fit(features, np.abs(Y) + 0.1)
    assert_near(boosted, asked, compiled=loss == "gamma")


@pytest.mark.parametrize("classes", [TWO, THREE], ids=["two", "three"])
def test_histogram_boosting_of_classes(classes: np.ndarray, assert_near: Callable) -> None:
    boosted = ensembles.HistGradientBoostingClassifier(
        max_iter=10, categorical_features=[CATEGORY], random_state=0, max_depth=5
    ).fit(MISSING, classes)
    assert_near(boosted, rows(300, seed=1, missing=0.1), "predict_proba")


def test_a_split_of_missing_from_all_others(assert_near: Callable) -> None:
    column = np.where(np.arange(200) % 3 == 0, np.nan, np.arange(200) % 5).astype(np.float32).reshape(-1, 1)
    boosted = ensembles.HistGradientBoostingRegressor(max_iter=3).fit(column, np.isnan(column[:, 0]) * 1.0)
    assert np.isinf(boosted._predictors[0][0].nodes["num_threshold"]).any()
    assert_near(boosted, np.array([[np.nan], [0], [-3e38], [3e38], [np.inf], [-np.inf]], np.float32))


@pytest.mark.parametrize("settings", [{}, {"max_features": 3, "max_samples": 100}])
def test_isolation_forests(settings: dict, assert_near: Callable) -> None:
    forest = ensembles.IsolationForest(n_estimators=30, random_state=0, **settings).fit(X)
    assert_near(forest, rows(300, seed=1), "score_samples", compiled=not settings)


def test_thresholds_of_float64_are_kept_exactly() -> None:
    random = np.random.default_rng(5)
    edges = np.array([0.0, -0.0, 1e-300, -1e-300, 1e300, -1e300, np.finfo(np.float32).max, 1e-45, 0.1, np.float32(0.1)])
    values = np.concatenate([edges, random.normal(size=500), random.normal(size=500).astype(np.float32)])
    x = values.clip(-3e38, 3e38).astype(np.float32)
    x = np.concatenate(
        [x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf)), [np.inf, -np.inf]]
    )
    np.testing.assert_array_equal(x[:, None] < below(values), x[:, None].astype(np.float64) <= values)


def test_values_at_a_threshold(assert_near: Callable) -> None:
    """Values between two neighbours in float32: scikit-learn's thresholds lie between them, in float64."""
    x = np.nextafter(np.float32(1), np.float32(2)) * np.ones((100, 1), np.float32)
    x[::2] = 1
    tree = DecisionTreeRegressor().fit(x, x[:, 0] == 1)
    assert_near(tree, np.array([[1], [np.nextafter(np.float32(1), np.float32(2))], [0], [2]], np.float32))


@pytest.mark.parametrize(
    ("estimator", "y", "reason"),
    [
        (LinearRegression(), Y, "LinearRegression"),
        (ensembles.GradientBoostingRegressor(init=LinearRegression(), n_estimators=2), Y, "starts from"),
        (ensembles.RandomForestClassifier(2), np.stack([TWO, THREE], 1), "several outputs"),
    ],
)
def test_what_is_not_exported(estimator: Any, y: np.ndarray, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        export_ensemble(estimator.fit(X, y))


def test_categories_that_are_no_numbers() -> None:
    features = rows(200, seed=1)
    features[:, CATEGORY] += 0.5
    boosted = ensembles.HistGradientBoostingRegressor(max_iter=2, categorical_features=[CATEGORY])
    with pytest.raises(Unsupported, match="whole numbers"):
        export_ensemble(boosted.fit(features, features[:, 0]))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    boosted = ensembles.HistGradientBoostingRegressor(max_iter=3, categorical_features=[CATEGORY]).fit(X, Y)
    with np.load(io.BytesIO(export_ensemble(boosted)), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("size", lambda a: a - 1),
        ("size", lambda a: a[:0]),
        ("output", lambda a: a + 1),
        ("output", lambda a: a[:-1]),
        ("left", lambda a: a[:-1]),
        ("left", lambda a: a * 0),
        ("right", lambda a: a + 10**9),
        ("feature", lambda a: a + WIDTH),
        ("feature", lambda a: a - 1),
        ("threshold", lambda a: a * np.nan),
        ("value", lambda a: a + np.inf),
        ("value", lambda a: a[:, 0]),
        ("base", lambda a: a[:0]),
        ("base", lambda a: a * np.nan),
        ("categories", lambda a: a - 1),
        ("categories", lambda a: a[:0]),
        ("set", lambda a: a[:-1]),
        ("set_node", lambda a: a[::-1]),
        ("set_node", lambda a: a + 10**6),
        ("link", lambda a: np.array("of the future")),
        ("link", lambda a: np.array([1, 2])),
        ("left", lambda a: a.astype(object)),
    ],
)
def test_arrays_that_are_no_ensemble(name: str, change: Callable, arrays: dict[str, np.ndarray]) -> None:
    assert read_trees(packed(arrays)).trees == 3
    with pytest.raises(InvalidData):
        read_trees(packed({**arrays, name: change(arrays[name])}))


def test_an_array_that_is_missing(arrays: dict[str, np.ndarray]) -> None:
    for name in arrays:
        with pytest.raises(InvalidData):
            read_trees(packed({other: array for other, array in arrays.items() if other != name}))


def test_damaged_bytes_never_do_more_than_raise(arrays: dict[str, np.ndarray]) -> None:
    content, random = packed(arrays), np.random.default_rng(7)
    for _ in range(200):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(0, 256)
        try:
            read_trees(bytes(damaged))
        except (InvalidData, Unsupported):
            continue
