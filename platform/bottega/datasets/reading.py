"""Reading a dataset for a use case: what every reader is asked, and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import pandas as pd

from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

Sources = Mapping[str, pd.DataFrame]
"""The tables that a use case's views and labels are made of, by source name."""

NONE: Sources = MappingProxyType({})


@dataclass(frozen=True)
class Gathered:
    """The tables of a span, and what is to be known of them.

    `rows` counts those of the span itself, without its history. `span` is [since, until) with open ends filled in from
    the data. `fingerprint` is a SHA-256 of the rows' content.
    """

    sources: Sources
    rows: int
    rejected: dict[str, int]
    data_source: str
    fingerprint: str
    span: tuple[datetime, datetime]


class Reader(Protocol):
    """Reads the sources of [since, until) from wherever the dataset resolves to; None is an open end.

    `data` is a file or folder to read in its stead: the dataset's own folder, or one that holds it under its name. What
    came before the span, by `history`, and what that folder lacks come from the dataset all the same. `known` holds
    tables that stand in for those that are nowhere at hand.

    Raises NotFound for a path that does not exist, InvalidData for a file that is not what it claims, InvalidInput for
    a span without rows.
    """

    def __call__(
        self,
        workspace: Workspace,
        settings: Settings,
        since: datetime | None,
        until: datetime | None,
        *,
        data: Path | None = None,
        history: timedelta = timedelta(),
        known: Sources = NONE,
        progress: Progress = silent,
    ) -> Gathered: ...


def inside(data: Path, dataset: str) -> Path:
    """The dataset's own folder where `data` holds it under its name, else `data` itself."""
    own = data / dataset
    return own if own.is_dir() else data
