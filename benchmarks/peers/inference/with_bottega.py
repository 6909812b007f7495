"""Bottega: the artefact that its build of plain models makes, loaded and called as any program does."""

from pathlib import Path

from bottega.compile.plain_build import build_plain
from bottega.compile.runtime import Artifact
from bottega.compile.xgboost_trees import read_xgboost
from peers.inference import trees
from peers.inference.case import Case, Inputs, Run
from peers.inference.task import TREES

ARTEFACT, GRAPH = "artefact", "model.onnx"
_KEY = b"a benchmark signs for itself"


def build(model: str, batches: tuple[int, ...], folder: Path) -> None:
    """The artefact with a bucket for each batch, from the files that the other engines are given."""
    content = (folder / (trees.BOOSTER if model == TREES else GRAPH)).read_bytes()
    source = read_xgboost(content) if model == TREES else content
    build_plain(source, folder / ARTEFACT, name=model, version="1", key=_KEY, buckets=batches)


def load(case: Case, threads: int) -> Run:
    """The artefact; it computes on the calling thread alone."""
    artifact = Artifact.load(case.folder / ARTEFACT, _KEY)

    def run(inputs: Inputs) -> list:
        return list(artifact.run(inputs).values())

    return run


def engine(case: Case) -> str:
    """The engine that the manifest names for the batch."""
    engines = Artifact.load(case.folder / ARTEFACT, _KEY).manifest.engines
    return next(bucket.engine for bucket in engines if bucket.batch == case.batch)
