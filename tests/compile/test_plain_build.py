"""Plain models: named tensors in and out against ONNX Runtime, and all that must not reach native code."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bottega.compile import plain, plain_build
from bottega.compile.manifest import read_manifest
from bottega.compile.onnx_engine import open_session
from bottega.compile.plain_build import build_plain
from bottega.compile.runtime import CONSTANTS, KERNELS, Artifact
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import Conflict, IntegrityError, InvalidData, InvalidInput, Unsupported

USERS, ITEMS, BUCKETS = 20, 60, (1, 4, 16)
Tensors = dict[str, np.ndarray]


def model(text: str, **weights: np.ndarray) -> bytes:
    """An ONNX model from its textual form and its weights."""
    parsed = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    parsed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return parsed.SerializeToString()


def ranker() -> bytes:
    """Scores of items for users: two embeddings, three items in columns of their own, two outputs."""
    random = np.random.default_rng(2)

    def drawn(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    return model(
        """
        ranker (int64[batch] user, int32[batch, 3] items, float[batch, 3] weight, bool[batch] new, float[4] mean)
            => (float[batch, 8] hidden, int64[batch] best) {
            known = Gather(users, user)
            shifted = Add(items, offsets)
            rows = Gather(table, shifted)
            column = Unsqueeze(weight, two)
            weighted = Mul(rows, column)
            summed = ReduceSum <keepdims: int = 0> (weighted, one)
            flag = Cast <to: int = 1> (new)
            bias = Unsqueeze(flag, one)
            centred = Sub(summed, mean)
            joined = Concat <axis: int = 1> (known, centred, bias)
            product = Gemm(joined, first, shift)
            hidden = Tanh(product)
            best = ArgMax <axis: int = 1, keepdims: int = 0> (hidden)
        }
        """,
        users=drawn(USERS, 4),
        table=drawn(ITEMS, 4),
        offsets=np.array([0, 10, 30], np.int32),
        one=np.array([1]),
        two=np.array([2]),
        first=drawn(9, 8) / 9,
        shift=drawn(8),
    )


def requests(rows: int, seed: int = 0) -> Tensors:
    random = np.random.default_rng(seed)
    return {
        "user": random.integers(0, USERS, rows),
        "items": random.integers(0, (10, 20, 30), (rows, 3)).astype(np.int32),
        "weight": random.standard_normal((rows, 3)).astype(np.float32),
        "new": random.random(rows) < 0.5,
        "mean": random.standard_normal(4).astype(np.float32),
    }


def expected(content: bytes, tensors: Tensors) -> list[np.ndarray]:
    return open_session(content).run(None, tensors)


@pytest.fixture(scope="module")
def ranker_folder(made: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "ranker" / "1"
    build_plain(ranker(), folder, name="ranker", version="1", key=made.key, buckets=BUCKETS)
    return folder


@pytest.fixture(scope="module")
def ranked(made: SimpleNamespace, ranker_folder: Path) -> Artifact:
    return Artifact.load(ranker_folder, made.key)


def test_the_manifest_holds_what_the_graph_says(made: SimpleNamespace, ranker_folder: Path) -> None:
    manifest = read_manifest(ranker_folder, made.key)
    assert (manifest.plan, manifest.trained, manifest.model) == (None, None, "ranker")
    assert [(t.name, t.datatype, t.shape, t.lowest, t.highest) for t in manifest.inputs] == [
        ("user", "INT64", (-1,), (0,), (USERS - 1,)),
        ("items", "INT32", (-1, 3), (0, -10, -30), (59, 49, 29)),
        ("weight", "FP32", (-1, 3), (), ()),
        ("new", "BOOL", (-1,), (), ()),
        ("mean", "FP32", (4,), (), ()),
    ]
    assert [(t.name, t.datatype, t.shape) for t in manifest.outputs] == [
        ("hidden", "FP32", (-1, 8)),
        ("best", "INT64", (-1,)),
    ]
    assert [bucket.batch for bucket in manifest.engines] == list(BUCKETS)
    assert all(bucket.tvm_us > 0 and bucket.onnxruntime_us > 0 for bucket in manifest.engines)
    assert not manifest.notes
    assert manifest.parity.max_rel_error < 1e-5


def test_weights_are_kept_once_for_all_buckets(made: SimpleNamespace, ranker_folder: Path) -> None:
    entries = read_manifest(ranker_folder, made.key).entries
    assert 1 < len(entries) <= len(BUCKETS)
    with np.load(ranker_folder / CONSTANTS) as arrays:
        assert sum(array.shape == (ITEMS, 4) for array in arrays.values()) == 1
        assert set(arrays.files) == {name for names in entries.values() for name in names}


@pytest.mark.parametrize("rows", [0, 1, 2, 4, 5, 15, 16, 17, 50])
def test_every_batch_size_is_onnx_runtimes_answer(rows: int, ranked: Artifact) -> None:
    tensors = requests(rows, seed=rows)
    answers = ranked.run(tensors)
    assert list(answers) == ["hidden", "best"]
    if not rows:
        assert [(a.shape, a.dtype) for a in answers.values()] == [((0, 8), np.float32), ((0,), np.int64)]
        return
    hidden, best = expected(ranker(), tensors)
    np.testing.assert_allclose(answers["hidden"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(answers["best"], best)


def test_any_memory_layout(ranked: Artifact) -> None:
    tensors = requests(6)
    turned = tensors | {"items": np.asfortranarray(tensors["items"]), "weight": np.repeat(tensors["weight"], 2, 0)[::2]}
    np.testing.assert_array_equal(ranked.run(turned)["hidden"], ranked.run(tensors)["hidden"])


def test_answers_are_the_callers_own(ranked: Artifact) -> None:
    first = ranked.run(requests(4, seed=1))["hidden"]
    kept = first.copy()
    ranked.run(requests(4, seed=2))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user": None}, "'user' is missing.*Its inputs are user, items, weight, new, mean"),
        ({"colour": np.zeros(3)}, "no input 'colour'"),
        ({"user": np.zeros(3, np.int32)}, "'user' is int32.*int64 of shape \\(batch\\)"),
        ({"weight": np.zeros((3, 3))}, "'weight' is float64.*float32"),
        ({"items": np.zeros((3, 4), np.int32)}, "shape \\(3, 4\\).*\\(batch, 3\\)"),
        ({"items": np.zeros(3, np.int32)}, "\\(batch, 3\\)"),
        ({"user": np.zeros((), np.int64)}, "\\(batch\\)"),
        ({"mean": np.zeros(3, np.float32)}, "'mean'.*float32 of shape \\(4\\)"),
        ({"user": np.zeros(2, np.int64)}, "'items' has 3 rows.*have 2"),
        ({"user": np.array([0, USERS, 0])}, "'user' is 20 at \\(1,\\).*from 0 to 19"),
        ({"user": np.array([0, 0, -1])}, "'user' is -1 at \\(2,\\)"),
        ({"items": np.array([[0, 0, 0], [0, 49, 0], [0, 0, 30]], np.int32)}, "is 30 at \\(2, 2\\).*-30 to 29"),
        ({"weight": np.array([[0, 0, np.nan]] * 3, np.float32)}, "'weight' is nan at \\(0, 2\\).*finite"),
        ({"mean": np.array([0, np.inf, 0, 0], np.float32)}, "'mean' is inf at \\(1,\\)"),
    ],
)
def test_tensors_that_native_code_must_not_see(change: dict, reason: str, ranked: Artifact) -> None:
    tensors = {name: array for name, array in (requests(3) | change).items() if array is not None}
    with pytest.raises(InvalidInput, match=reason):
        ranked.run(tensors)


def test_threads_do_not_share_buffers(ranked: Artifact) -> None:
    asked = [requests(rows, seed=rows) for rows in (1, 3, 16, 40) * 2]
    wanted = [ranked.run(tensors)["hidden"] for tensors in asked]
    wrong: list[int] = []

    def run(at: int) -> None:
        for _ in range(200):
            if not np.array_equal(ranked.run(asked[at])["hidden"], wanted[at]):
                wrong.append(at)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", [KERNELS, CONSTANTS, "model.onnx", "manifest.json"])
def test_a_corrupted_folder(name: str, made: SimpleNamespace, ranker_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ranker_folder, tmp_path / "1")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match="Compile it again here"):
        Artifact.load(folder, made.key)


def test_a_plain_model_has_no_plan(ranked: Artifact) -> None:
    with pytest.raises(Unsupported, match="ranker is a plain model"):
        ranked.predict(requests(1))


def test_the_model_of_a_package_runs_alone_too(made: SimpleNamespace, trees_artifact: Path) -> None:
    artifact = Artifact.load(trees_artifact, made.key)
    features = made.inputs_of(made.requests(5, seed=1))
    assert np.isnan(features).any()
    np.testing.assert_array_equal(artifact.run({"features": features})["prediction"], artifact.predict_raw(features))
    with pytest.raises(InvalidInput, match="features"):
        artifact.run({"features": features[:, 1:]})


def test_trees_without_a_package(made: SimpleNamespace, tmp_path: Path) -> None:
    import xgboost

    features = made.inputs_of(made.requests(500, seed=8))
    booster = made.boosted(features)
    ensemble = read_xgboost(bytes(booster.save_raw("ubj")))
    manifest = build_plain(
        ensemble, tmp_path / "1", name="t", version="1", key=made.key, buckets=(1, 64), measure=False
    )
    assert manifest.kind == "trees"
    artifact = Artifact.load(tmp_path / "1", made.key)
    for rows in (1, 30, 64, 300):
        answer = artifact.run({"features": features[:rows]})["prediction"]
        right = booster.predict(xgboost.DMatrix(features[:rows]), output_margin=True)
        np.testing.assert_allclose(answer[:, 0], right, rtol=1e-5)


def test_what_onnx_runtime_won_is_not_carried(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(batch, candidates, reference):
        return msgspec.structs.replace(candidates[0][0], engine="onnxruntime")

    monkeypatch.setattr(plain_build, "choose", lost)
    artifact = build(ranker(), tmp_path / "1", made, measure=True)
    assert sorted(artifact.manifest.files) == ["model.onnx"]
    assert not artifact.manifest.entries
    tensors = requests(9)
    np.testing.assert_array_equal(artifact.run(tensors)["hidden"], expected(ranker(), tensors)[0])


def build(content: bytes, folder: Path, made: SimpleNamespace, **options: object) -> Artifact:
    settings = {"name": "made_up", "version": "1", "key": made.key, "buckets": (1, 4), "measure": False} | options
    build_plain(content, folder, **settings)  # type: ignore[arg-type]
    return Artifact.load(folder, made.key)


def test_a_graph_that_tvm_lacks_is_onnx_runtimes(made: SimpleNamespace, tmp_path: Path) -> None:
    content = model("g (float[n, 3] x) => (float[n, 3] y) { y = LpNormalization <axis = 1> (x) }")
    artifact = build(content, tmp_path / "1", made)
    assert "LpNormalization" in artifact.manifest.notes[0]
    assert [(b.engine, b.entry) for b in artifact.manifest.engines] == [("onnxruntime", "")] * 2
    x = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    np.testing.assert_array_equal(artifact.run({"x": x})["y"], expected(content, {"x": x})[0])


@pytest.mark.parametrize(
    ("body", "output", "reason"),
    [
        ("y = Softmax <axis: int = 0> (x)", "float[n, 3] y", "depends on the other rows"),
        ("y = ReduceMean <keepdims: int = 0> (x)", "float y", "'y' is of the whole batch"),
    ],
)
def test_a_batch_that_must_stay_whole(
    body: str, output: str, reason: str, made: SimpleNamespace, tmp_path: Path
) -> None:
    content = model(f"g (float[n, 3] x) => ({output}) {{ {body} }}")
    artifact = build(content, tmp_path / "1", made)
    assert reason in artifact.manifest.notes[0]
    for rows in (1, 3, 20):
        x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
        np.testing.assert_array_equal(artifact.run({"x": x})["y"], expected(content, {"x": x})[0])


def test_a_graph_without_a_batch(made: SimpleNamespace, tmp_path: Path) -> None:
    content = model("g (float[2, 3] x, double scale) => (float[3, 2] y, double z) { y = Transpose(x) z = Exp(scale) }")
    artifact = build(content, tmp_path / "1", made)
    assert [(bucket.batch, bucket.engine) for bucket in artifact.manifest.engines] == [(1, "tvm")]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    answers = artifact.run({"x": x, "scale": np.array(0.5)})
    np.testing.assert_array_equal(answers["y"], x.T)
    assert answers["z"] == pytest.approx(np.exp(0.5), rel=1e-6)


def test_a_missing_value_where_the_graph_asks_for_it(made: SimpleNamespace, tmp_path: Path) -> None:
    content = model(
        "g (float[n, 2] x, float[n, 2] w) => (float[n, 2] y) { m = IsNaN(x) z = Where(m, zero, x) y = Add(z, w) }",
        zero=np.zeros((), np.float32),
    )
    artifact = build(content, tmp_path / "1", made)
    assert [tensor.missing for tensor in artifact.manifest.inputs] == [True, False]
    x, w = np.array([[1, np.nan]], np.float32), np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(artifact.run({"x": x, "w": w})["y"], [[2, 1]])
    with pytest.raises(InvalidInput, match="'w' is nan"):
        artifact.run({"x": x, "w": x})
    with pytest.raises(InvalidInput, match=r"'x' is inf.*NaN where missing"):
        artifact.run({"x": np.array([[0, np.inf]], np.float32), "w": w})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[n, m] x) => (float[n, m] y) { y = Relu(x) }", "axis 1 of the input 'x' is unknown"),
        ("g (string[n] x) => (string[n] y) { y = Identity(x) }", "'x' is no tensor of numbers"),
        ("g (float[n, 3] x) => (int64[2, k] y) { y = NonZero(x) }", "shape of the output 'y' is not known"),
        ("g () => (float[1] y) { y = Constant <value_floats: floats = [1.0]> () }", "no inputs"),
    ],
)
def test_graphs_that_have_no_artefact(text: str, reason: str, made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=reason):
        build(model(text), tmp_path / "1", made)
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_no_model(made: SimpleNamespace, tmp_path: Path) -> None:
    for content in (b"", b"GIF89a", ranker()[: len(ranker()) // 2]):
        with pytest.raises(InvalidData, match="ONNX"):
            build(content, tmp_path / "1", made)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists(made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="exists"):
        build(ranker(), tmp_path, made)


def test_what_fails_parity_is_not_written(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that gets one weight wrong."""
    add = plain.network.add_size

    def wrong(program, *arguments):
        add(program, *arguments)
        for name, array in program.constants.items():
            if array.shape == (8,):
                program.constants[name] = array * np.float32(1.01)

    monkeypatch.setattr(plain.network, "add_size", wrong)
    with pytest.raises(IntegrityError, match="'hidden' of network_1 at batch 1"):
        build(ranker(), tmp_path / "1", made)
    assert not list(tmp_path.iterdir())


_ALONE = """
import sys
from pathlib import Path
import numpy as np
from bottega.compile.runtime import Artifact

artifact = Artifact.load(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
answer = artifact.run({
    "user": np.array([1]), "items": np.zeros((1, 3), np.int32), "weight": np.ones((1, 3), np.float32),
    "new": np.array([True]), "mean": np.zeros(4, np.float32),
})
assert np.isfinite(answer["hidden"]).all()
heavy = {"torch", "xgboost", "sklearn", "mlflow", "onnx", "onnxruntime", "tvm", "pandas", "evidently", "scipy"}
loaded = heavy & {name.partition(".")[0] for name in sys.modules}
assert not loaded, loaded
status = Path("/proc/self/status")
if status.exists():
    peak_kib = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert peak_kib < 60 * 1024, peak_kib
"""


def test_a_process_that_runs_it_is_small(made: SimpleNamespace, ranker_folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", _ALONE, str(ranker_folder), made.key.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
