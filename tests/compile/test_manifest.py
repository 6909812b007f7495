"""Manifest: a round trip, and everything that makes an artefact be refused."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bottega.compile.manifest import FORMAT, MANIFEST, SIGNATURE, read_manifest, write_manifest
from bottega.compile.runtime import KERNELS, Artifact
from bottega.errors import IntegrityError, Unsupported


@pytest.fixture
def artifact(trees_artifact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(trees_artifact, tmp_path / "1")


def test_round_trip(made: SimpleNamespace, artifact: Path) -> None:
    manifest = read_manifest(artifact, made.key)
    write_manifest(artifact, manifest, made.key)
    assert read_manifest(artifact, made.key) == manifest


def test_what_it_says(made: SimpleNamespace, artifact: Path) -> None:
    manifest = read_manifest(artifact, made.key)
    assert (manifest.usecase, manifest.version, manifest.kind) == ("eta", "1", "trees")
    assert manifest.features == made.plan.features
    assert manifest.plan == made.plan
    assert (manifest.run_id, manifest.git_commit) == ("run-1", "abc")
    assert manifest.trained.since.startswith("2024-01-01")
    assert manifest.inputs[0].shape == (-1, len(made.plan.features))
    assert [bucket.batch for bucket in manifest.engines] == [1, 4, 16, 64, 256]
    assert manifest.parity.max_rel_error == 0.0
    assert "from" in msgspec.json.decode((artifact / MANIFEST).read_bytes())["trained"]
    assert {"kernels.so", "constants.npz", "tables.npz", "model.onnx", "model.ubj"} <= manifest.files.keys()


def test_every_file_is_under_the_signature(made: SimpleNamespace, artifact: Path) -> None:
    for name in read_manifest(artifact, made.key).files:
        path = artifact / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=name):
            Artifact.load(artifact, made.key)
        path.write_bytes(content)
    Artifact.load(artifact, made.key)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, KERNELS, "tables.npz"])
def test_a_missing_file(name: str, made: SimpleNamespace, artifact: Path) -> None:
    (artifact / name).unlink()
    with pytest.raises(IntegrityError, match="Compile it again here"):
        Artifact.load(artifact, made.key)


def test_a_library_cut_short(made: SimpleNamespace, artifact: Path) -> None:
    content = (artifact / KERNELS).read_bytes()
    (artifact / KERNELS).write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError, match=KERNELS):
        Artifact.load(artifact, made.key)


def test_an_edited_manifest(made: SimpleNamespace, artifact: Path) -> None:
    text = (artifact / MANIFEST).read_text()
    (artifact / MANIFEST).write_text(text.replace('"version": "1"', '"version": "9"'))
    with pytest.raises(IntegrityError, match="signature"):
        Artifact.load(artifact, made.key)


def test_another_workspace(artifact: Path) -> None:
    with pytest.raises(IntegrityError, match="Compile it again here"):
        Artifact.load(artifact, b"the key of another workspace")


def test_a_folder_that_is_not_there(made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        Artifact.load(tmp_path / "nowhere", made.key)


def test_a_newer_format(made: SimpleNamespace, artifact: Path) -> None:
    newer = msgspec.structs.replace(read_manifest(artifact, made.key), format=FORMAT + 1)
    write_manifest(artifact, newer, made.key)
    with pytest.raises(Unsupported, match="format"):
        read_manifest(artifact, made.key)
