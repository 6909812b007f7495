"""Bottega: the artefact that its build of plain models makes, loaded and called as any program does."""

from bottega.compile.runtime import Artifact
from peers.inference.case import Case, Inputs, Run
from peers.inference.task import ARTEFACT, KEY


def load(case: Case, threads: int) -> Run:
    """The artefact; it computes on the calling thread alone."""
    artifact = Artifact.load(case.folder / ARTEFACT, KEY)

    def run(inputs: Inputs) -> list:
        return list(artifact.run(inputs).values())

    return run


def engine(case: Case) -> str:
    """The engine that the manifest names for the batch."""
    engines = Artifact.load(case.folder / ARTEFACT, KEY).manifest.engines
    return next(bucket.engine for bucket in engines if bucket.batch == case.batch)
