"""Runtime: checks before native code, buckets, threads, fallback, and what a process must not load."""

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from bottega.compile import runtime
from bottega.compile.manifest import Bucket, read_manifest, write_manifest
from bottega.compile.runtime import Artifact
from bottega.errors import InvalidInput
from bottega.training.package import ModelPackage
from bottega.training.reference import model_function


@pytest.fixture(scope="module")
def trees(made: SimpleNamespace, trees_artifact: Path) -> Artifact:
    return Artifact.load(trees_artifact, made.key)


@pytest.fixture(scope="module")
def booster(trees_package: Path):
    package = ModelPackage.load(trees_package)
    return model_function(package.info.kind, package.model, 1)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 17, 63, 256, 257, 700])
def test_every_batch_size_is_xgboosts_answer(rows: int, made: SimpleNamespace, trees: Artifact, booster) -> None:
    features = made.inputs_of(made.requests(rows, seed=rows))
    features[::5, ::2] = np.nan
    answer = trees.predict_raw(features)
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, booster(features))


def test_any_memory_layout(made: SimpleNamespace, trees: Artifact, booster) -> None:
    features = made.inputs_of(made.requests(50, seed=1))
    expected = booster(features)
    shifted = np.zeros(features.size + 1, np.float32)[1:].reshape(features.shape)  # not aligned to a vector register
    shifted[...] = features
    every_other = np.repeat(features, 2, axis=0)[::2]
    for view in (np.asfortranarray(features), shifted, every_other):
        np.testing.assert_array_equal(trees.predict_raw(view), expected)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (np.zeros((2, 9), np.float64), "float64"),
        (np.zeros((2, 8), np.float32), "shape"),
        (np.zeros(9, np.float32), "shape"),
        (np.zeros((1, 2, 9), np.float32), "shape"),
        (np.zeros((0, 9), np.float32), "empty"),
        (np.full((2, 9), np.inf, np.float32), "pu_zone is inf in row 0"),
        (np.full((2, 9), -np.inf, np.float32), "finite"),
    ],
)
def test_matrices_that_native_code_must_not_see(features: np.ndarray, reason: str, trees: Artifact) -> None:
    with pytest.raises(InvalidInput, match=reason):
        trees.predict_raw(features)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pu_zone": np.array([99], np.int32)}, "99 is unknown"),
        ({"pu_zone": np.array([-1], np.int32)}, "-1 is unknown"),
        ({"extra": np.array([1])}, "no field"),
        ({"pu_zone": None}, "missing"),
    ],
)
def test_requests_that_the_plan_refuses(change: dict, reason: str, made: SimpleNamespace, trees: Artifact) -> None:
    columns = {name: value for name, value in (made.requests(1, seed=1) | change).items() if value is not None}
    with pytest.raises(InvalidInput, match=reason):
        trees.predict(columns)


def test_stages_are_the_whole(made: SimpleNamespace, trees: Artifact) -> None:
    request = made.requests(20, seed=2)
    ready = trees.before_model(request)
    answers = trees.after_model(ready, trees.predict_raw(ready[trees.plan.model().input]))
    for name, whole in trees.predict(request).items():
        np.testing.assert_array_equal(answers[name], whole)


def test_threads_do_not_share_buffers(made: SimpleNamespace, trees: Artifact, booster) -> None:
    batches = [made.inputs_of(made.requests(rows, seed=rows)) for rows in (1, 3, 16, 40) * 2]
    expected = [booster(features) for features in batches]
    requests = [made.requests(16, seed=seed) for seed in range(len(batches))]
    wanted = [trees.predict(request)["eta_min"] for request in requests]
    wrong: list[int] = []

    def run(at: int) -> None:
        for _ in range(300):
            if not np.array_equal(trees.predict_raw(batches[at]), expected[at]):
                wrong.append(at)
            if not np.array_equal(trees.predict(requests[at])["eta_min"], wanted[at], equal_nan=True):
                wrong.append(at)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_artifacts_in_one_process(
    made: SimpleNamespace, trees: Artifact, network_artifact: Path, trees_artifact: Path
) -> None:
    features = made.inputs_of(made.requests(5, seed=3))
    before = trees.predict_raw(features)
    network, again = Artifact.load(network_artifact, made.key), Artifact.load(trees_artifact, made.key)
    assert not np.array_equal(network.predict_raw(features), before)
    np.testing.assert_array_equal(again.predict_raw(features), before)
    np.testing.assert_array_equal(trees.predict_raw(features), before)


def test_a_cpu_that_lacks_a_feature_falls_back(
    made: SimpleNamespace, trees: Artifact, trees_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "misfit", lambda target: "built for the future")
    artifact = Artifact.load(trees_artifact, made.key)
    assert artifact.fallback == "built for the future"
    request = made.requests(30, seed=4)
    for name, native in trees.predict(request).items():
        np.testing.assert_allclose(artifact.predict(request)[name], native, rtol=1e-5)


def test_a_bucket_that_onnx_runtime_won(made: SimpleNamespace, trees_artifact: Path, tmp_path: Path, booster) -> None:
    import shutil

    folder = shutil.copytree(trees_artifact, tmp_path / "1")
    manifest = read_manifest(folder, made.key)
    engines = (Bucket(1, "tvm", "tree_lanes"), Bucket(8, "onnxruntime", "row_lanes"))
    write_manifest(folder, msgspec.structs.replace(manifest, engines=engines), made.key)
    artifact = Artifact.load(folder, made.key)
    features = made.inputs_of(made.requests(21, seed=5))  # two of eight rows, and one of five
    np.testing.assert_allclose(artifact.predict_raw(features), booster(features), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(artifact.predict_raw(features[:1]), booster(features[:1]))


_ALONE = """
import sys
from pathlib import Path
import numpy as np
from bottega.compile.runtime import Artifact

artifact = Artifact.load(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
request = {"pu_zone": np.array([3], np.int32), "do_zone": np.array([4], np.int32), "at": np.array([1704085200000000])}
assert artifact.predict(request)["eta_min"][0] > 0
heavy = {"torch", "xgboost", "sklearn", "mlflow", "onnx", "onnxruntime", "tvm", "pandas", "evidently", "scipy"}
loaded = heavy & {name.partition(".")[0] for name in sys.modules}
assert not loaded, loaded
assert not [name for name in sys.modules if name.startswith(("bottega.training", "bottega.registry"))]
maps = Path("/proc/self/maps")
if maps.exists():
    text = maps.read_text()
    assert "libtvm_runtime" in text
    for library in ("libtvm_compiler", "libtorch", "libxgboost", "libonnxruntime"):
        assert library not in text, library
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("kind", ["trees", "network"])
def test_a_process_that_answers_loads_no_framework(
    kind: str, made: SimpleNamespace, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"{kind}_artifact")
    command = [sys.executable, "-W", "error", "-c", _ALONE, str(folder), made.key.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_online_step_without_a_store_is_refused() -> None:
    with pytest.raises(InvalidInput, match="read_online"):
        runtime.no_online_store("zone_traffic", (), np.zeros(1, np.int64))
