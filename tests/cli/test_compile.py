"""`bottega compile FILE`: a model file becomes an artefact that a program loads; wrong uses get one line."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bottega.cli import main
from bottega.compile.cuda_toolkit import find_toolkit
from bottega.compile.runtime import Artifact
from bottega.errors import Unsupported
from bottega.training.ensembles import export_ensemble
from bottega.workspace import Workspace

PICTURE = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[n, 6] x, int64[n] place) => (float[n, 4] y) {
    known = Gather(table, place)
    joined = Concat <axis: int = 1> (x, known)
    hidden = MatMul(joined, weights)
    y = Relu(hidden)
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(1)
    parsed = onnx.parser.parse_model(PICTURE)
    for name, shape in (("table", (9, 2)), ("weights", (8, 4))):
        drawn = random.standard_normal(shape).astype(np.float32)
        parsed.graph.initializer.append(numpy_helper.from_array(drawn, name))
    path = tmp_path_factory.mktemp("models") / "places.onnx"
    path.write_bytes(parsed.SerializeToString())
    return path


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    error: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command as a person runs it, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BOTTEGA_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["bottega", "compile", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def test_a_file_becomes_the_next_version_under_its_name(model: Path, tmp_path: Path, run: Callable[..., Said]) -> None:
    first = run(model, "--buckets", "1,8", "--json")
    assert first.code == 0, first.error
    said = json.loads(first.out)
    assert (said["model"], said["version"], said["plan"]) == ("places", "1", None)
    assert [bucket["batch"] for bucket in said["engines"]] == [1, 8]
    assert said["inputs"][1]["highest"] == [8]
    second = run(model, "--buckets", "4", "--target", "cpu:x86-64-v2")
    assert second.code == 0, second.error
    assert "place INT64 (batch), ids 0 to 8" in second.out
    assert "x86-64-v2" in second.out
    workspace = Workspace.open(tmp_path / "workspace")
    artifact = Artifact.load(workspace.repository / "places" / "2", workspace.signing_key())
    assert artifact.manifest.target.level == "x86-64-v2"
    x, place = np.ones((11, 6), np.float32), np.arange(11) % 9
    assert artifact.run({"x": x, "place": place})["y"].shape == (11, 4)


WIDE = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[n, 24] x) => (float[n, 1] y) {
    hidden = MatMul(x, weights)
    active = Relu(hidden)
    y = ReduceSum <keepdims: int = 1> (active, axis)
}
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that is worth int8, `wide.onnx`, and its rows with labels, `rows.npz`."""
    random, folder = np.random.default_rng(2), tmp_path_factory.mktemp("wide")
    weights, rows = (random.standard_normal(shape).astype(np.float32) for shape in ((24, 32), (200, 24)))
    parsed = onnx.parser.parse_model(WIDE)
    for name, array in (("weights", weights), ("axis", np.array([1]))):
        parsed.graph.initializer.append(numpy_helper.from_array(array, name))
    (folder / "wide.onnx").write_bytes(parsed.SerializeToString())
    label = np.maximum(rows @ weights, 0).sum(1) + random.normal(0, 3, len(rows))
    np.savez(folder / "rows.npz", x=rows, label=label)
    np.savez(folder / "bare.npz", x=rows)
    (folder / "broken.npz").write_bytes(b"no archive")
    return folder


def test_a_file_in_int8_says_what_it_costs(wide: Path, tmp_path: Path, run: Callable[..., Said]) -> None:
    options = ["--buckets", "4", "--precision", "int8", "--calibration", wide / "rows.npz", "--metric", "mae"]
    said = run(wide / "wide.onnx", *options, "--max-loss", "0.05")
    assert said.code == 0, said.error
    assert "int8: mae " in said.out
    workspace = Workspace.open(tmp_path / "workspace")
    artifact = Artifact.load(workspace.repository / "wide" / "1", workspace.signing_key())
    precision = artifact.manifest.precision
    assert precision is not None and precision.rows == 100 and 2 < precision.metric_float < 3.5
    with np.load(wide / "rows.npz") as rows:
        error = np.abs(artifact.run({"x": rows["x"][1::2]})["y"][:, 0] - rows["label"][1::2]).mean()
    assert error == pytest.approx(precision.metric_quantised, rel=1e-2)


def test_tuning_leaves_a_database_and_a_verdict(wide: Path, tmp_path: Path, run: Callable[..., Said]) -> None:
    said = run(wide / "wide.onnx", "--buckets", "4", "--tune", "1")
    assert said.code == 0, said.error
    assert "Tuning " in said.out
    assert list((tmp_path / "workspace" / "tuning").glob("*/records.json"))


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--precision", "int4"], 2, "'int4' is no precision"),
        (["--precision", "int8"], 2, "--calibration"),
        (["--precision", "int8", "--calibration", "broken.npz"], 2, "no .npz file"),
        (["--precision", "int8", "--calibration", "rows.npz", "--metric", "mse"], 2, "mae, accuracy, auc, hit@10"),
        (["--precision", "int8", "--calibration", "bare.npz", "--metric", "mae"], 2, "needs labels"),
        (["--precision", "int8", "--calibration", "bare.npz", "--max-loss", "1e-9"], 1, "costs more"),
    ],
)
def test_int8_that_is_refused(
    options: list[str], code: int, says: str, wide: Path, tmp_path: Path, run: Callable[..., Said]
) -> None:
    done = run(wide / "wide.onnx", *(str(wide / text) if text.endswith(".npz") else text for text in options))
    assert done.code == code, done.error
    assert says in done.error
    assert not (tmp_path / "workspace" / "repository").exists()


def test_the_stages_explained(model: Path, tmp_path: Path, run: Callable[..., Said]) -> None:
    said = run(model, "--explain", "--json")
    assert said.code == 0, said.error
    stages = json.loads(said.out)
    order = ["onnx", "relax", "fusion", "kernels", "scheduled", "tiling", "function", "heaviest", "assembly"]
    assert list(stages) == order
    assert "matmul" in stages["fusion"]
    assert "-> " in stages["tiling"] and "vector " in stages["tiling"]
    kernel, loop = stages["heaviest"].split("\n", 1)
    assert "matmul" in kernel
    assert loop.strip()
    assert "network_16" in stages["assembly"]


def test_a_forest_of_scikit_learn(tmp_path: Path, run: Callable[..., Said]) -> None:
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(5)
    features = random.standard_normal((400, 6)).astype(np.float32)
    forest = RandomForestRegressor(8, max_depth=5, random_state=0).fit(features, features[:, 0] * features[:, 1])
    (tmp_path / "forest.npz").write_bytes(export_ensemble(forest))
    said = run("forest.npz", "--buckets", "1,64")
    assert said.code == 0, said.error
    assert "features FP32 (batch, 6), NaN where missing" in said.out
    workspace = Workspace.open(tmp_path / "workspace")
    artifact = Artifact.load(workspace.repository / "forest" / "1", workspace.signing_key())
    answer = artifact.run({"features": features})["prediction"][:, 0]
    np.testing.assert_allclose(answer, forest.predict(features), rtol=1e-5, atol=1e-6)


def test_a_network_for_a_gpu(model: Path, run: Callable[..., Said]) -> None:
    try:
        find_toolkit()
    except Unsupported as reason:
        pytest.skip(str(reason))
    said = run(model, "--target", "cuda:sm_90", "--precision", "fp16", "--buckets", "2", "--out", "gpu", "--json")
    assert said.code == 0, said.error
    found = json.loads(said.out)
    assert (found["arch"], found["precision"]) == ("sm_90", "fp16")
    assert [bucket["batch"] for bucket in found["buckets"]] == [2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nothing.onnx"], 2, "nothing.onnx cannot be read"),
        (["MODEL", "--buckets", "1,two"], 2, "whole numbers"),
        (["MODEL", "--buckets", "0"], 2, "1 or more"),
        (["MODEL", "--target", "gpu"], 2, "'gpu' is no target"),
        (["MODEL", "--target", "cpu:i386"], 2, "'i386' is no CPU level"),
        (["MODEL", "--out", "."], 1, "exists"),
        (["eta@champion", "--target", "cuda", "--out", "gpu"], 2, "Give an .onnx file, and --out"),
        (["MODEL", "--target", "cuda"], 2, "Give an .onnx file, and --out"),
        (["MODEL", "--target", "cuda", "--precision", "int8", "--out", "gpu"], 2, "Give fp32 or fp16"),
        (["MODEL", "--target", "cuda:sm_1", "--out", "gpu"], 2, "'sm_1' is no GPU architecture"),
        (["cut.npz"], 2, "no tree ensemble"),
        (["cut.onnx"], 2, "not readable as ONNX"),
        (["cut.ubj"], 2, "UBJSON"),
    ],
)
def test_wrong_uses_get_one_line(
    arguments: list[str], code: int, says: str, model: Path, tmp_path: Path, run: Callable[..., Said]
) -> None:
    for name in ("cut.onnx", "cut.ubj", "cut.npz"):
        (tmp_path / name).write_bytes(model.read_bytes()[:100])
    done = run(*(str(model) if argument == "MODEL" else argument for argument in arguments))
    assert done.code == code, done.error
    assert says in done.error
    assert len(done.error.strip().splitlines()) == 1
