"""Packages in int8: judged in the unit of their answer, compiled, signed, and answering requests."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bottega.compile.build import build_artifact
from bottega.compile.quantised_package import quantise_package
from bottega.compile.runtime import Artifact
from bottega.compile.target import VNNI, for_integers, host
from bottega.errors import GateFailed, Unsupported
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference


@pytest.fixture(scope="module")
def labelled(network_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn network, its samples labelled by its own answers and some noise."""
    package = ModelPackage.load(network_package)
    answers = Reference(package).predict(package.samples)["eta_min"]
    label = answers * np.random.default_rng(0).lognormal(0, 0.2, len(answers))
    folder = tmp_path_factory.mktemp("labelled") / "package"
    dataclasses.replace(package, labels={"eta_min": label}).save(folder)
    return folder


def test_labels_survive_the_disk(labelled: Path, network_package: Path) -> None:
    package = ModelPackage.load(labelled)
    assert set(package.labels) == {"eta_min"} and len(package.labels["eta_min"]) == len(package.inputs)
    assert set(package.samples) == set(ModelPackage.load(network_package).samples)


def test_the_cost_is_in_the_unit_of_the_answer(labelled: Path) -> None:
    package = ModelPackage.load(labelled)
    quantised, cost = quantise_package(package, bound=0.05)
    halves = {name: column[1::2] for name, column in package.samples.items()}
    for which, value in ((package, cost.metric_float), (quantised, cost.metric_quantised)):
        answers = Reference(which).predict(halves)["eta_min"]
        assert value == pytest.approx(np.nanmean(np.abs(answers - package.labels["eta_min"][1::2])), rel=1e-4)
    assert cost.metric == "mae_min" and cost.rows == len(package.inputs) // 2
    assert cost.loss <= 0.05 and cost.metric_float != cost.metric_quantised


def test_without_labels_the_distance_counts(network_package: Path) -> None:
    _, cost = quantise_package(ModelPackage.load(network_package), bound=0.2)
    assert cost.metric == "relative_rms_difference" and 0 < cost.metric_quantised < 0.2


def test_an_artefact_in_int8_answers_requests(made: SimpleNamespace, labelled: Path, tmp_path: Path) -> None:
    manifest = build_artifact(labelled, tmp_path / "1", version="1", key=made.key, int8=True, bound=0.05, measure=False)
    assert manifest.precision is not None and manifest.precision.quantised
    assert (VNNI in manifest.target.features) == (VNNI in for_integers(host()).features)
    assert {bucket.engine for bucket in manifest.engines} == {"tvm"}
    requests = made.requests(40, seed=3)
    answers = Artifact.load(tmp_path / "1", made.key).predict(requests)["eta_min"]
    np.testing.assert_allclose(answers, Reference(ModelPackage.load(labelled)).predict(requests)["eta_min"], rtol=0.1)


def test_what_costs_too_much_is_not_written(made: SimpleNamespace, labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="mae_min"):
        build_artifact(labelled, tmp_path / "1", version="1", key=made.key, int8=True, bound=-0.5)
    assert not list(tmp_path.iterdir())


def test_trees_are_not_quantised(trees_package: Path) -> None:
    with pytest.raises(Unsupported, match="networks"):
        quantise_package(ModelPackage.load(trees_package))
