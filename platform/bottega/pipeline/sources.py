"""Sources: what a use case reads of its dataset, with as much history as its features look back."""

from datetime import datetime, timedelta
from pathlib import Path

from bottega.datasets.reading import NONE, Gathered, Sources
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace


def gather(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    *,
    data: Path | None = None,
    known: Sources = NONE,
    progress: Progress = silent,
) -> Gathered:
    """The use case's sources over [since, until), and before it as far back as its longest window."""
    return usecase.read(
        workspace,
        settings,
        since,
        until,
        data=data,
        history=history_of(usecase),
        known=known,
        progress=progress,
    )


def history_of(usecase: UseCase) -> timedelta:
    """How far back the features of a request may look: the longest window."""
    windows = [f.window_s for view in usecase.views if isinstance(view, FeatureView) for f in view.features]
    return timedelta(seconds=max(windows, default=0))
