"""Parity: a span of events replayed through log, updater and online reads gives the training set's values, bit for bit.

Reads and events are interleaved as they would have been: a read at a moment sees a store that was fed with what was
known by then, and nothing else. Afterwards the same questions are asked again of the full store, which must answer for
past moments as it did when they were the present.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.eventlog import EventLog, open_log
from bottega.features.arrivals import append_arrivals, known_us
from bottega.features.binding import bind_times
from bottega.features.offline import TrainingSet
from bottega.features.online import OnlineStore
from bottega.features.updater import Updater, stream_columns
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import parse_duration_s

if TYPE_CHECKING:
    import pandas as pd


class Mismatch(msgspec.Struct, frozen=True):
    """The first value that differs: which feature, in which row of the labels, and both values (None: null)."""

    feature: str
    row: int
    offline: float | None
    online: float | None


class Parity(msgspec.Struct, frozen=True):
    """How many values were compared, and how many differ."""

    values: int
    mismatches: int
    first_mismatch: Mismatch | None = None

    def plus(self, other: "Parity") -> "Parity":
        """Both comparisons as one."""
        return Parity(
            self.values + other.values,
            self.mismatches + other.mismatches,
            self.first_mismatch or other.first_mismatch,
        )


def parity(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    labels: "pd.DataFrame",
    at: str = "requested_at",
    keys: Sequence[str] = (),
    progress: Progress = silent,
) -> Parity:
    """Replay the sources' events and compare a view's features at the labels' moments, offline against online.

    `keys` are the label columns that hold the entity's keys. Every value is compared twice: when its moment is the
    present, and after the whole span.
    """
    columns = tuple(keys) or view.entity.keys
    offline = offline_values(view, sources, labels, at, columns)
    at_us, present = bind_times("The label table", labels, at)
    rows = np.flatnonzero(present)
    rows = rows[np.argsort(at_us[rows], kind="stable")]
    with tempfile.TemporaryDirectory() as folder, open_log(Path(folder) / "log.db") as log:
        store = OnlineStore(Path(folder) / "store")
        tile_us = parse_duration_s(view.tile) * 1_000_000
        arrivals, late = {}, []
        for name in view.source_names:
            arrivals[name], lates = _append(view, name, sources[name], log, tile_us)
            late.append(lates)
        updater = Updater([view], log, store, kept_us=None)
        moments = _moments(np.concatenate(late), at_us[rows], tile_us)
        live = np.full((len(view.features), len(labels)), np.nan)
        groups = np.searchsorted(moments, at_us[rows], side="right") - 1
        cuts = np.flatnonzero(np.diff(groups, prepend=-2))
        for done, begin in enumerate(cuts.tolist()):
            progress("replay", done, len(cuts))
            mine = rows[begin : cuts[done + 1] if done + 1 < len(cuts) else None]
            known = int(moments[groups[begin]])
            updater.run({name: int(np.searchsorted(times, known, side="right")) for name, times in arrivals.items()})
            live[:, mine] = _read(store, view, labels.iloc[mine], columns, at_us[mine])
        progress("replay", len(cuts), len(cuts))
        updater.run({name: len(times) for name, times in arrivals.items()})
        again = _read(store, view, labels.iloc[rows], columns, at_us[rows])
        del store, updater
    found = compare(view, offline[:, rows], live[:, rows], rows)
    return found.plus(compare(view, offline[:, rows], again, rows))


def store_parity(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    store: OnlineStore,
    labels: "pd.DataFrame",
    at: str = "requested_at",
    keys: Sequence[str] = (),
) -> Parity:
    """Compare what a store answers now, at the labels' moments, with the training set; nothing is replayed."""
    columns = tuple(keys) or view.entity.keys
    at_us, present = bind_times("The label table", labels, at)
    rows = np.flatnonzero(present)
    online = _read(store, view, labels.iloc[rows], columns, at_us[rows])
    return compare(view, offline_values(view, sources, labels, at, columns)[:, rows], online, rows)


def offline_values(
    view: FeatureView, sources: Mapping[str, "pd.DataFrame"], labels: "pd.DataFrame", at: str, keys: Sequence[str]
) -> np.ndarray:
    """A view's features as the training set holds them: (features, labels) float64."""
    suffix = f"@{','.join(keys)}" if keys else ""
    references = {f"offline:{feature.name}": f"{view.name}:{feature.name}{suffix}" for feature in view.features}
    found = TrainingSet(labels, references, at).compute([view], sources)
    return np.stack([found[name].to_numpy() for name in references])


def compare(view: FeatureView, offline: np.ndarray, online: np.ndarray, rows: np.ndarray) -> Parity:
    """Compare (features, n) values of the labels' `rows` by equality; null equals null."""
    differ = ~((offline == online) | (np.isnan(offline) & np.isnan(online)))
    if not differ.any():
        return Parity(offline.size, 0)
    column = int(np.argmax(differ.any(axis=0)))
    feature = int(np.argmax(differ[:, column]))
    one, other = (None if np.isnan(x[feature, column]) else float(x[feature, column]) for x in (offline, online))
    first = Mismatch(view.features[feature].name, int(rows[column]), one, other)
    return Parity(offline.size, int(differ.sum()), first)


def _append(
    view: FeatureView, name: str, table: "pd.DataFrame", log: EventLog, tile_us: int
) -> tuple[np.ndarray, np.ndarray]:
    """Append a source's events in the order of their arrival; returns all arrivals in that order, and the late ones."""
    source = view.find_source(name)
    event_us, _ = bind_times(f"The source {name!r}", table, source.event_time)
    arrival_us = known_us(source, table)
    order = append_arrivals(name, table[list(stream_columns(view, source))], arrival_us, log)
    return arrival_us[order], arrival_us[arrival_us // tile_us != event_us // tile_us]


def _moments(late_us: np.ndarray, at_us: np.ndarray, tile_us: int) -> np.ndarray:
    """The newest moment before each read at which an answer changed, ascending: a tile's edge, or a late arrival.

    What arrives on time changes nothing before its tile's edge.
    """
    every = np.unique(np.concatenate([late_us, at_us // tile_us * tile_us]))
    before = np.searchsorted(every, at_us, side="right") - 1
    return every[np.unique(before)]


def _read(
    store: OnlineStore, view: FeatureView, labels: "pd.DataFrame", keys: Sequence[str], at_us: np.ndarray
) -> np.ndarray:
    """A view's features (features, labels) as the online store has them."""
    found = store.read(view.name, tuple(labels[key].to_numpy() for key in keys), at_us)
    return np.stack([found[feature.name] for feature in view.features])
