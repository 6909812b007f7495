"""Restaurant sessions for a use case: those of a span, from files or invented, and the restaurants they speak of."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.eats import simulate_sessions
from bottega.datasets.incidents import CITY_TIMEZONE
from bottega.datasets.origin import Origin, resolve
from bottega.datasets.reading import NONE, Gathered, Sources, inside
from bottega.datasets.relation import table_file
from bottega.datasets.sessions import DATASET, Sessions, load_restaurants, load_sessions
from bottega.datasets.simulator import SIMULATOR_END, SIMULATOR_START
from bottega.datasets.spans import check_span
from bottega.errors import InvalidInput, NotFound
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace


def read_session_sources(
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    *,
    data: Path | None = None,
    history: timedelta = timedelta(),
    known: Sources = NONE,
    progress: Progress = silent,
) -> Gathered:
    """`sessions`, `events` and `restaurants`, as `bottega.datasets.reading.Reader` says.

    A session stands for itself, so that no `history` is needed.
    """
    check_span(since, until)
    origin = resolve(DATASET, workspace, settings)
    folder = origin.path if data is None else inside(data, DATASET)
    if folder is None:
        loaded = _invent(settings.seed, since, until, progress)
    else:
        if not folder.is_dir():
            raise NotFound(f"{folder} is no folder of sessions.", next_step="Name one that holds sessions.parquet.")
        loaded = load_sessions(folder, since, until, restaurants=_restaurants(folder, origin, known))
    started = loaded.sessions["started_at"]
    span = (
        since or started.iloc[0].to_pydatetime(),
        until or started.iloc[-1].to_pydatetime().replace(microsecond=0) + timedelta(seconds=1),
    )
    label = str(data) if data is not None else origin.label
    return Gathered(loaded.tables, len(loaded.sessions), loaded.rejected, label, _fingerprint(loaded), span)


def _restaurants(folder: Path, origin: Origin, known: Sources) -> pd.DataFrame | None:
    """The restaurants of the training data, for a folder without its own; None where they are nowhere at hand."""
    if table_file(folder, "restaurants") is not None:
        return None
    if origin.path is not None and table_file(origin.path, "restaurants") is not None:
        return load_restaurants(origin.path)[0]
    return known.get("restaurants")


def _invent(seed: int, since: datetime | None, until: datetime | None, progress: Progress) -> Sessions:
    """The invented sessions of the span; a day's sessions do not depend on the span."""
    first, last = max(since or SIMULATOR_START, SIMULATOR_START), min(until or SIMULATOR_END, SIMULATOR_END)
    if first >= last:
        raise InvalidInput(
            f"Saltmere's guide has sessions from {SIMULATOR_START:%Y-%m-%d} to {SIMULATOR_END:%Y-%m-%d} only.",
            next_step="Choose a span inside that year.",
        )
    since_day, until_day = (
        pd.Timestamp(moment).tz_convert(CITY_TIMEZONE).date() for moment in (first, last - timedelta(microseconds=1))
    )
    found = simulate_sessions(seed, since_day, until_day + timedelta(days=1), progress)
    started = found.sessions["started_at"]
    sessions = found.sessions[(started >= first) & (started < last)].reset_index(drop=True)
    if sessions.empty:
        raise InvalidInput("The span holds no session of Saltmere's guide.", next_step="Choose a longer span.")
    events = found.events[found.events["session_id"].isin(sessions["session_id"])].reset_index(drop=True)
    return Sessions(sessions, events, found.restaurants, {})


def _fingerprint(loaded: Sessions) -> str:
    """Hex SHA-256 over the values of the three tables."""
    digest = hashlib.sha256()
    for name, table in loaded.tables.items():
        plain = table.assign(features=table["features"].map("|".join)) if "features" in table else table
        digest.update(f"{name}:{','.join(plain.columns)};".encode())
        digest.update(np.ascontiguousarray(pd.util.hash_pandas_object(plain, index=False).to_numpy()).tobytes())
    return digest.hexdigest()
