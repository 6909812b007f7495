"""A small ETA-like package of each kind, made by hand, and the artefacts compiled from them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tvm
import xgboost

from bottega.compile import library, native, onnx_engine, tree_kernels, tree_tables
from bottega.compile.build import build_artifact
from bottega.compile.calls import Native, matrix_function
from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower
from bottega.compile.native import llvm_target
from bottega.compile.schedule import schedule
from bottega.compile.target import LEVELS, Target, cpu_features, host, named
from bottega.compile.tree_tables import Form, form_of
from bottega.compile.trees import Ensemble
from bottega.features.plan import FeaturePlan, run_steps
from bottega.features.steps import Bucket, Calendar, Columns, Function, Lookup, Model, Parts, Stack
from bottega.features.tables import Table, Tables
from bottega.schema import Field
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.reference import no_online_store, onnx_function
from bottega.training.trace import trace

KEY = hashlib.sha256(b"a key for tests").digest()
ZONES = 40
MONDAY_US = 1_704_085_200_000_000  # 2024-01-01 00:00 in New York
HOUR_US = 3_600_000_000


def great_circle(xp, pu_lat, pu_lon, do_lat, do_lon):
    """Kilometres between two points in degrees, and how much further east and north the second one is."""
    a, b, c, d = (degrees * (np.pi / 180) for degrees in (pu_lat, pu_lon, do_lat, do_lon))
    half = xp.sin((c - a) / 2) * xp.sin((c - a) / 2)
    half = half + xp.cos(a) * xp.cos(c) * xp.sin((d - b) / 2) * xp.sin((d - b) / 2)
    return 2 * 6371.0 * xp.sqrt(half), (d - b) * xp.cos(a) * 6371.0, (c - a) * 6371.0


def minutes(xp, pair_log, residual):
    """The estimate, and a band around it."""
    eta = xp.exp(pair_log + residual)
    return eta, eta * 0.8, eta * 1.25


PLAN = FeaturePlan(
    request=(
        Field("pu_zone", "INT32", known_in="zones"),
        Field("do_zone", "INT32", known_in="zones"),
        Field("at", "INT64", is_time=True),
    ),
    steps=(
        Calendar("at", "America/New_York", {"hour": "hour", "weekday": "weekday", "minute_of_day": "minute_of_day"}),
        Lookup("zones", ("pu_zone",), {"pu_lat": "lat", "pu_lon": "lon"}),
        Lookup("zones", ("do_zone",), {"do_lat": "lat", "do_lon": "lon"}),
        Lookup("pairs", ("pu_zone", "do_zone"), {"pair_log": "log_min"}),
        Function("great_circle", ("pu_lat", "pu_lon", "do_lat", "do_lon"), ("km", "east_km", "north_km")),
        Bucket("minute_of_day", (360.0, 600.0, 960.0, 1140.0), "part_of_day"),
        Stack(
            ("pu_zone", "do_zone", "hour", "weekday", "part_of_day", "km", "east_km", "north_km", "pair_log"),
            "features",
        ),
        Model("features", ("residual",)),
        Function("minutes", ("pair_log", "residual"), ("eta_min", "low_min", "high_min")),
    ),
    answer=(
        Field("eta_min", "FP64", unit="min"),
        Field("low_min", "FP64", unit="min"),
        Field("high_min", "FP64", unit="min"),
    ),
)
TRAINED = Trained("2024-01-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00", 1000, "made up", "0" * 64)


def tables() -> Tables:
    """Zones with coordinates; pairs with a mean, some of them unknown and missing."""
    random = np.random.default_rng(3)
    zone = np.arange(1, ZONES + 1)
    place = {"lat": 40.7 + random.normal(0, 0.05, ZONES), "lon": -73.9 + random.normal(0, 0.05, ZONES)}
    pu, do = (grid.ravel() for grid in np.meshgrid(zone, zone, indexing="ij"))
    known = random.random(len(pu)) < 0.9
    log_min = random.normal(2.5, 0.4, len(pu))
    return {
        "zones": Table.from_keys([zone], place),
        "pairs": Table.from_keys([pu[known], do[known]], {"log_min": log_min[known]}, sizes=(ZONES + 1, ZONES + 1)),
    }


def requests(rows: int, seed: int) -> Columns:
    """Valid requests between known zones, some of them without a known pair."""
    random = np.random.default_rng(seed)
    return {
        "pu_zone": random.integers(1, ZONES + 1, rows).astype(np.int32),
        "do_zone": random.integers(1, ZONES + 1, rows).astype(np.int32),
        "at": MONDAY_US + random.integers(0, 24 * 50, rows) * HOUR_US,
    }


def functions() -> dict[str, bytes]:
    """The plan's functions, traced."""
    return {
        "great_circle": trace("great_circle", great_circle, 4, 3),
        "minutes": trace("minutes", minutes, 2, 3),
    }


def inputs_of(columns: Columns) -> np.ndarray:
    """Model inputs of requests, (rows, features) float32."""
    traced = {name: onnx_function(content) for name, content in functions().items()}
    parts = Parts(tables(), traced, no_online_store, lambda features: features)
    return run_steps(PLAN.before_model(), columns, parts)["features"]


def package(kind: str, model: bytes) -> ModelPackage:
    """A package around a model."""
    samples = requests(128, seed=5)
    info = PackageInfo("eta", "made_up", kind, PLAN, TRAINED, {"mae_min": 1.5}, "abc", "run-1")  # type: ignore[arg-type]
    return ModelPackage(info, tables(), model, functions(), samples, inputs_of(samples))


def boosted(features: np.ndarray, **settings: object) -> xgboost.Booster:
    """A small regression on the features, rows with missing values included."""
    random = np.random.default_rng(1)
    label = np.nan_to_num(features[:, -4:]).sum(1) / 10 + np.sin(features[:, 2]) + random.normal(0, 0.1, len(features))
    options = {"max_depth": 5, "eta": 0.2, "nthread": 1, "tree_method": "hist", **settings}
    return xgboost.train(options, xgboost.DMatrix(features, label), 40)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """What tests make things of."""
    return SimpleNamespace(
        key=KEY, plan=PLAN, requests=requests, inputs_of=inputs_of, package=package, boosted=boosted, tables=tables
    )


@pytest.fixture(scope="session")
def trees_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees") / "package"
    booster = boosted(inputs_of(requests(3000, seed=9)))
    package("trees", bytes(booster.save_raw("ubj"))).save(folder)
    return folder


@pytest.fixture(scope="session")
def trees_artifact(trees_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "eta" / "1"
    build_artifact(trees_package, folder, version="1", key=KEY, measure=False)
    return folder


@pytest.fixture(scope="session")
def network_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DeepETA-style network of the training package, with every weight drawn."""
    import torch

    from bottega.training.network import DeepEta, NetworkSettings, export_network, quantile_edges

    settings = NetworkSettings(ids=("pu_zone", "do_zone"), segment="hour", segments=24, hash_size=64)
    edges = quantile_edges(inputs_of(requests(2000, seed=9)), PLAN.features, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DeepEta(PLAN.features, settings, edges)
        for weights in model.parameters():
            if not weights.any():
                torch.nn.init.normal_(weights, std=0.1)
    folder = tmp_path_factory.mktemp("network") / "package"
    package("network", export_network(model, len(PLAN.features))).save(folder)
    return folder


@pytest.fixture(scope="session")
def network_artifact(network_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "eta" / "2"
    build_artifact(network_package, folder, version="2", key=KEY, measure=False)
    return folder


def run_native(model: bytes, inputs: dict[str, np.ndarray], folder: Path, target: Target) -> list[np.ndarray]:
    """The outputs of an ONNX model of these exact shapes as one native function."""
    graph = import_onnx(onnx.load_model_from_string(model), {name: array.shape for name, array in inputs.items()})
    joined = join(schedule(lower(graph, llvm_target(target)), target), "network")
    path = folder / f"{target.level}{len(list(folder.iterdir()))}.so"
    native.build(tvm.IRModule({"network": joined.function}), target, path)
    constants = [library.aligned_copy(array) for array in joined.constants.values()]
    results = joined.function.params[len(inputs) + len(constants) :]
    outputs = [library.aligned(tuple(int(size) for size in result.shape), str(result.dtype)) for result in results]
    arguments = [*map(library.aligned_copy, inputs.values()), *constants, *outputs]
    library.load(path)("network")(*map(library.tensor, arguments))
    return outputs


@pytest.fixture(scope="session")
def levels() -> list[Target]:
    """Every x86-64 level that this CPU runs; elsewhere the machine's own target."""
    here = host()
    return [named(level) for level, needed in LEVELS.items() if needed <= cpu_features()] or [here]


@pytest.fixture
def agrees_with_onnx_runtime(
    levels: list[Target], tmp_path: Path
) -> Callable[[bytes, dict[str, np.ndarray]], list[np.ndarray]]:
    """A check that a model answers as ONNX Runtime does, compiled for each level; it returns what was expected."""

    def check(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        session = onnx_engine.open_session(model)
        expected, names = session.run(None, inputs), [output.name for output in session.get_outputs()]
        for target in levels:
            answers = run_native(model, inputs, tmp_path, target)
            for name, answer, right in zip(names, answers, expected, strict=True):
                assert answer.dtype == right.dtype
                typical = float(np.abs(right[np.isfinite(right)]).max(initial=1e-6))
                what = f"{name} on {target.level}"
                np.testing.assert_allclose(answer, right, rtol=2e-5, atol=typical * 4e-6, err_msg=what)
        return expected

    return check


@pytest.fixture(scope="session")
def compiled_trees(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Ensemble], dict[str, Callable]]:
    """Both kernels of an ensemble; each form is compiled once."""
    built: dict[Form, Callable] = {}

    def compiled(ensemble: Ensemble) -> dict[str, Callable]:
        form = form_of(ensemble)
        if form not in built:
            path = tmp_path_factory.mktemp("trees") / "kernels.so"
            kernels = {"row_lanes": tree_kernels.row_lanes(form), "tree_lanes": tree_kernels.tree_lanes(form)}
            native.build(tvm.IRModule(kernels), host(), path)
            built[form] = library.load(path)
        tables = {"row_lanes": tree_tables.row_tables(ensemble), "tree_lanes": tree_tables.tree_tables(ensemble)}
        arguments = {
            name: tuple(library.tensor(library.aligned_copy(array)) for array in arrays)
            for name, arrays in tables.items()
        }
        return {
            name: matrix_function(Native(built[form](name), arguments[name]), ensemble.features, ensemble.outputs)
            for name in tables
        }

    return compiled
