import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bottega.registry
from bottega.errors import InvalidInput, NotFound, StorageError
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Model, Stack
from bottega.features.tables import Table
from bottega.registry import Registry, git_commit
from bottega.schema import Field
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.workspace import Workspace


def make_package(folder: Path, mae: float = 3.5) -> Path:
    """A small package on disk; the registry never looks into its model."""
    plan = FeaturePlan((Field("x", "FP64"),), (Stack(("x",), "m"), Model("m", ("y",))), (Field("y", "FP32"),))
    trained = Trained("2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00", 9, "village", "f00")
    info = PackageInfo("eta", "boosting", "trees", plan, trained, {"mae_min": mae}, "abc")
    table = Table.from_keys([np.arange(3)], {"v": np.arange(3.0)})
    ModelPackage(info, {"t": table}, b"model", {}, {"x": np.ones(2)}, np.ones((2, 1), np.float32)).save(folder)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A workspace with two registered versions; MLflow's first migration takes seconds."""
    root = tmp_path_factory.mktemp("registry") / "w"
    registry = Registry(Workspace.open(root))
    for version, mae in ((1, 3.5), (2, 3.4)):
        with registry.start_run("eta", "boosting", tags={"who": "test"}) as run:
            run.log_params({"depth": 6, "inputs": "x" * 4000})
            run.log_curve("tune_mae", [5.0 - i / 1000 for i in range(1500)])
            run.log_metrics({"mae_min": mae})
            registry.register("eta", make_package(root.parent / f"p{version}", mae), run)
    registry.set_alias("eta", "champion", 1)
    return root


@pytest.fixture
def registry(template, tmp_path) -> Registry:
    """A copy of that workspace: so it was moved, too."""
    copied = tmp_path / "moved"
    subprocess.run(["cp", "-r", str(template), str(copied)], check=True)
    return Registry(Workspace.open(copied))


def test_versions_count_up_and_carry_their_lineage(registry):
    first, second = registry.versions("eta")
    assert (first.version, second.version) == (1, 2)
    assert first.aliases == ("champion",)
    assert second.metrics == {"mae_min": 3.4}
    assert second.tags["data_fingerprint"] == "f00"
    assert second.tags["trained_until"] == "2024-02-01T00:00:00+00:00"
    assert second.run_id != first.run_id


def test_a_reference_names_a_version_an_alias_or_the_champion(registry):
    assert registry.get("eta/2").version == 2
    assert registry.get("eta@champion").version == registry.get("eta").version == 1


def test_the_package_lies_in_this_workspace_and_knows_its_run(registry, tmp_path):
    found = registry.get("eta/2")
    assert tmp_path in found.folder.parents
    package = ModelPackage.load(found.folder)
    assert package.info.run_id == found.run_id
    assert package.model == b"model"
    np.testing.assert_array_equal(package.inputs, np.ones((2, 1)))


@pytest.mark.parametrize(
    ("reference", "error", "what"),
    [
        ("eta/9", NotFound, "has no version 9. Its versions are 1/champion, 2."),
        ("eta@challenger", NotFound, "has no challenger. Its versions are 1/champion, 2."),
        ("pricing", NotFound, "'pricing' has no version yet. Run 'bottega train pricing' first."),
        ("eta:1", InvalidInput, "'eta:1' is no reference to a model. Write eta, eta@champion or eta/3."),
        ("eta' OR 1=1", InvalidInput, "is no reference"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(registry, reference, error, what):
    with pytest.raises(error) as caught:
        registry.get(reference)
    assert what in str(caught.value)


def test_an_alias_moves_and_no_version_is_both(registry):
    registry.set_alias("eta", "challenger", 2)
    registry.set_alias("eta", "champion", 2)
    first, second = registry.versions("eta")
    assert first.aliases == ()
    assert second.aliases == ("champion",)
    with pytest.raises(NotFound):
        registry.set_alias("eta", "champion", 7)


def test_a_run_keeps_parameters_curves_and_its_end(registry):
    client = registry._client()
    run = client.get_run(registry.get("eta/1").run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["depth"] == "6"
    assert run.data.tags["who"] == "test"
    history = client.get_metric_history(run.info.run_id, "tune_mae")
    assert [point.step for point in history] == list(range(1, 1501))
    with pytest.raises(ZeroDivisionError), registry.start_run("eta", "broken") as broken:
        raise ZeroDivisionError
    assert client.get_run(broken.id).info.status == "FAILED"


def test_an_empty_workspace_has_no_versions_and_no_database(tmp_path):
    registry = Registry(Workspace.open(tmp_path / "w"))
    assert registry.versions("eta") == ()
    assert registry.models() == ()
    assert not (tmp_path / "w" / "registry").exists()


def test_models_are_listed(registry):
    assert registry.models() == ("eta",)


def test_a_lost_package_is_said_plainly(registry):
    (registry.get("eta/2").folder / "package.json").unlink()
    with pytest.raises(StorageError, match="eta version 2 is missing or damaged"):
        registry.get("eta/2")


def test_opening_the_registry_imports_no_mlflow():
    code = "import sys, bottega.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_serves_this_registry(registry, tmp_path):
    command = registry.server_command("127.0.0.1", 5001)
    assert command[:2] == ["mlflow", "server"]
    assert f"sqlite:///{tmp_path}/moved/registry/mlflow.db" in command


def test_the_commit_is_a_hash_in_a_checkout_and_unknown_outside(monkeypatch, tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    inside = tmp_path / "platform" / "bottega" / "registry.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("")
    monkeypatch.setattr(bottega.registry, "__file__", str(inside))
    assert git_commit() == "unknown"
    git("init", "-q")
    assert git_commit() == "unknown"
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "first")
    clean = git_commit()
    assert len(clean) == 40
    inside.write_text("changed = True\n")
    assert git_commit() == f"{clean}-dirty"
