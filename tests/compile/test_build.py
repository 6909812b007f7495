"""Build: what is written, what is refused, and that nothing half-made stays."""

import dataclasses
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from bottega import toolchain
from bottega.compile.build import build_artifact
from bottega.compile.explain import explain
from bottega.compile.order import STAGES
from bottega.compile.runtime import Artifact
from bottega.compile.target import Target, host, misfit, named
from bottega.errors import Conflict, IntegrityError, InvalidData, InvalidInput, Unavailable, Unsupported
from bottega.features.tables import save_tables
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference


def test_a_measured_build_of_trees(made: SimpleNamespace, trees_package: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    manifest = build_artifact(
        trees_package,
        tmp_path / "3",
        version="3",
        key=made.key,
        buckets=(16, 1, 1),
        progress=lambda task, done, total: seen.append((task, done, total)),
    )
    assert seen == [("Compiling", done, len(STAGES)) for done in range(len(STAGES) + 1)]
    assert [bucket.batch for bucket in manifest.engines] == [1, 16]
    for bucket in manifest.engines:
        assert bucket.engine == ("tvm" if bucket.tvm_us <= bucket.onnxruntime_us else "onnxruntime")
        assert bucket.speedup == pytest.approx(bucket.onnxruntime_us / bucket.tvm_us, abs=0.02)
    assert manifest.target == host()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3"]


def test_a_version_is_never_overwritten(made: SimpleNamespace, trees_package: Path, trees_artifact: Path) -> None:
    with pytest.raises(Conflict, match="exists"):
        build_artifact(trees_package, trees_artifact, version="1", key=made.key)


def test_a_version_that_another_build_wrote_meanwhile(
    made: SimpleNamespace, trees_package: Path, tmp_path: Path
) -> None:
    out = tmp_path / "1"

    def other(task: str, done: int, total: int) -> None:
        if done == total:
            out.mkdir()
            (out / "manifest.json").write_text("another build's")

    with pytest.raises(Conflict, match="exists"):
        build_artifact(trees_package, out, version="1", key=made.key, measure=False, progress=other)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (out / "manifest.json").read_text() == "another build's"


# numpy leaves the file open when it finds that a .npz is no archive.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("missing", ["package.json", "model.ubj", "samples.npz", "tables.npz"])
def test_folders_that_are_no_package(missing: str, made: SimpleNamespace, trees_package: Path, tmp_path: Path) -> None:
    package = shutil.copytree(trees_package, tmp_path / "package")
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:30]), lambda path: path.unlink()):
        damage(package / missing)
        with pytest.raises(InvalidData):
            build_artifact(package, tmp_path / "1", version="1", key=made.key)
    assert not (tmp_path / "1").exists()


def test_a_package_without_rows_to_check(made: SimpleNamespace, trees_package: Path, tmp_path: Path) -> None:
    loaded = ModelPackage.load(trees_package)
    dataclasses.replace(loaded, inputs=loaded.inputs[:0]).save(tmp_path / "package")
    with pytest.raises(InvalidData, match="inputs"):
        build_artifact(tmp_path / "package", tmp_path / "1", version="1", key=made.key)


@pytest.mark.skipif(sys.platform != "linux", reason="the ziglang package is installed on Linux only")
def test_a_machine_without_a_c_compiler(
    made: SimpleNamespace, trees_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    build_artifact(trees_package, tmp_path / "1", version="1", key=made.key, measure=False)
    assert np.isfinite(Artifact.load(tmp_path / "1", made.key).predict_raw(np.zeros((1, 9), np.float32))).all()


def test_a_machine_without_any_linker(
    made: SimpleNamespace, trees_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(Unavailable, match="ziglang"):
        build_artifact(trees_package, tmp_path / "1", version="1", key=made.key, measure=False)


@pytest.mark.parametrize("buckets", [(), (0, 4), (-1,)])
def test_buckets_that_make_no_sense(
    buckets: tuple[int, ...], made: SimpleNamespace, trees_package: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="buckets"):
        build_artifact(trees_package, tmp_path / "1", version="1", key=made.key, buckets=buckets)


def test_a_target_of_another_machine(made: SimpleNamespace, trees_package: Path, tmp_path: Path) -> None:
    other = Target("linux", "riscv64", "generic")
    with pytest.raises(Unsupported, match="riscv64"):
        build_artifact(trees_package, tmp_path / "1", version="1", key=made.key, target=other)


def test_what_fails_parity_is_not_written(
    made: SimpleNamespace, trees_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that gets a leaf wrong."""
    from bottega.compile import tree_kernels

    right = tree_kernels.row_tables

    def wrong(ensemble):
        *others, leaf = right(ensemble)
        return [*others, leaf * np.float32(1.01)]

    monkeypatch.setattr(tree_kernels, "row_tables", wrong)
    with pytest.raises(IntegrityError, match="row_lanes"):
        build_artifact(trees_package, tmp_path / "1", version="1", key=made.key, measure=False)
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_plan(made: SimpleNamespace, tmp_path: Path) -> None:
    features = made.inputs_of(made.requests(200, seed=1))[:, :5]
    made.package("trees", bytes(made.boosted(features).save_raw("ubj"))).save(tmp_path / "package")
    with pytest.raises(InvalidInput, match="5 features"):
        build_artifact(tmp_path / "package", tmp_path / "1", version="1", key=made.key)


def test_a_network_that_tvm_lacks_is_served_by_onnx_runtime(made: SimpleNamespace, tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    width = len(made.plan.features)
    graph = helper.make_graph(
        [
            helper.make_node("LpNormalization", ["features"], ["v"], axis=1),
            helper.make_node("ReduceMax", ["v", "axes"], ["prediction"], keepdims=1),
        ],
        "unit_length",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    made.package("network", model.SerializeToString()).save(tmp_path / "package")
    manifest = build_artifact(tmp_path / "package", tmp_path / "1", version="1", key=made.key, buckets=(1, 8))
    assert "LpNormalization" in manifest.notes[0]
    assert [(bucket.engine, bucket.entry) for bucket in manifest.engines] == [("onnxruntime", "")] * 2
    features = np.nan_to_num(made.inputs_of(made.requests(30, seed=2)))
    expected = (features / np.linalg.norm(features, axis=1, keepdims=True)).max(1, keepdims=True)
    np.testing.assert_allclose(Artifact.load(tmp_path / "1", made.key).predict_raw(features), expected, rtol=1e-6)


def test_the_whole_plan_answers_as_the_package(
    made: SimpleNamespace, trees_package: Path, trees_artifact: Path
) -> None:
    request = made.requests(300, seed=12)
    answers = Artifact.load(trees_artifact, made.key).predict(request)
    expected = Reference(ModelPackage.load(trees_package)).predict(request)
    assert list(answers) == ["eta_min", "low_min", "high_min"]
    for name, wanted in expected.items():
        np.testing.assert_allclose(answers[name], wanted, rtol=1e-12)


def test_tables_are_part_of_the_artifact(made: SimpleNamespace, trees_package: Path, tmp_path: Path) -> None:
    """The package may change afterwards: the answers do not."""
    package = shutil.copytree(trees_package, tmp_path / "package")
    build_artifact(package, tmp_path / "1", version="1", key=made.key, measure=False)
    before = Artifact.load(tmp_path / "1", made.key).predict(made.requests(5, seed=3))
    save_tables(package / "tables.npz", {})
    after = Artifact.load(tmp_path / "1", made.key).predict(made.requests(5, seed=3))
    np.testing.assert_array_equal(before["eta_min"], after["eta_min"])


def test_levels_say_what_they_need() -> None:
    assert not misfit(host())
    assert "lacks" in misfit(msgspec.structs.replace(host(), features=("a_feature_of_the_future",)))
    assert set(named("x86-64-v3").features) < set(named("x86-64-v4").features)
    with pytest.raises(InvalidInput, match="x86-64-v3"):
        named("pentium")


def test_explanations_hold_every_stage(trees_package: Path, network_package: Path) -> None:
    trees = explain(trees_package)
    assert list(trees) == ["tables", "row_lanes", "tree_lanes", "assembly"]
    network = explain(network_package, batch=3)
    stages = ["onnx", "relax", "fusion", "kernels", "scheduled", "tiling", "function", "heaviest", "assembly"]
    assert list(network) == stages
    assert "T.vectorized" in network["scheduled"]
    assert "T.vectorized" not in network["kernels"]
    assert "def network_4" in network["function"]
    assert "network_4" in network["assembly"]
