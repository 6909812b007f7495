"""Evaluate: a registered version scored on any trips."""

from datetime import datetime
from pathlib import Path

import msgspec

from bottega.pipeline.sources import gather
from bottega.progress import Progress, silent
from bottega.registry import Registry
from bottega.settings import Settings
from bottega.times import to_epoch_us
from bottega.training.evaluate import SliceScore, evaluate_package
from bottega.training.examples import make_examples
from bottega.training.package import ModelPackage
from bottega.usecase import UseCase
from bottega.workspace import Workspace

FAR = datetime.fromisoformat("2200-01-01T00:00:00+00:00")


class Scored(msgspec.Struct, frozen=True):
    """What `bottega evaluate` prints: the version, the data, the refused rows by reason, metrics, worst slices."""

    usecase: str
    model_version: int
    data_source: str
    rows: int
    rows_rejected: dict[str, int]
    metrics: dict[str, float]
    worst_slices: tuple[SliceScore, ...] = ()
    slices: tuple[SliceScore, ...] = ()


def evaluate(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    *,
    reference: str | None = None,
    data: Path | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = silent,
) -> Scored:
    """Score a version (default: the champion) on the trips of `data` (default: the dataset) in [since, until).

    Features are joined point-in-time, so a row knows nothing of its own trip nor of any that was under way.
    """
    version = Registry(workspace).get(reference or f"{usecase.name}@champion")
    package = ModelPackage.load(version.folder)
    zone_table = package.tables.get("zones")
    gathered = gather(usecase, workspace, settings, since, until, data=data, zone_table=zone_table, progress=progress)
    first = gathered.loaded.table["pickup_at"].iloc[0].to_pydatetime()
    span_us = to_epoch_us(since or first), to_epoch_us(until or FAR)
    examples = make_examples(usecase.recipe, gathered.sources, *span_us, progress)
    found = evaluate_package(package, usecase.recipe, examples)
    return Scored(
        usecase.name,
        version.version,
        gathered.loaded.data_source,
        found.rows,
        gathered.loaded.rejected,
        found.metrics,
        found.worst,
        found.slices,
    )
