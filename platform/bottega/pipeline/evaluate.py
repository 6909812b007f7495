"""Evaluate: a registered version scored on any data of its dataset's kind."""

from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.features.static import StaticView
from bottega.pipeline.sources import gather
from bottega.progress import Progress, silent
from bottega.registry import Registry
from bottega.settings import Settings
from bottega.times import to_epoch_us
from bottega.training.evaluate import SliceScore
from bottega.training.package import ModelPackage
from bottega.usecase import UseCase
from bottega.workspace import Workspace


class Scored(msgspec.Struct, frozen=True):
    """What `bottega evaluate` prints: the version, the data, the refused rows by reason, metrics, worst slices."""

    usecase: str
    model_version: int
    data_source: str
    rows: int
    rows_rejected: dict[str, int]
    metrics: dict[str, float]
    worst_slices: tuple[SliceScore, ...] = ()
    least_covered: tuple[SliceScore, ...] = ()
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
    """Score a version (default: the champion) on the rows of `data` (default: the dataset) in [since, until).

    Features are joined point-in-time: a row knows nothing of what became known after its request.
    """
    version = Registry(workspace).get(reference or f"{usecase.name}@champion")
    package = ModelPackage.load(version.folder)
    known = _known(usecase, package)
    gathered = gather(usecase, workspace, settings, since, until, data=data, known=known, progress=progress)
    since_us, until_us = map(to_epoch_us, gathered.span)
    found = usecase.recipe.evaluate(package, gathered.sources, since_us, until_us, progress)
    return Scored(
        usecase.name,
        version.version,
        gathered.data_source,
        found.rows,
        gathered.rejected,
        found.metrics,
        found.worst,
        found.least_covered,
        found.slices,
    )


def _known(usecase: UseCase, package: ModelPackage) -> Sources:
    """The static tables that the model was trained with, by source, for data that comes without them."""
    found = {}
    for view in usecase.views:
        table = package.tables.get(view.name)
        if isinstance(view, StaticView) and table is not None and len(view.entity.keys) == 1:
            keys = np.flatnonzero(table.known)
            columns = {name: values[keys] for name, values in table.columns.items()}
            found[view.source] = pd.DataFrame({view.entity.keys[0]: keys.astype(view.entity.dtype), **columns})
    return found
