"""Parity: the training set and the online store give the same values, bit for bit."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.features.binding import bind_times
from bottega.features.offline import training_set
from bottega.features.online import OnlineStore
from bottega.features.view import FeatureView

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


def parity(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    labels: "pd.DataFrame",
    at: str = "requested_at",
    keys: Sequence[str] = (),
    store: OnlineStore | None = None,
) -> Parity:
    """Compare a view's features at the labels' moments, offline against online, by equality.

    `keys` are the label columns that hold the entity's keys. Without `store`, the events go into a temporary one.
    """
    names = [feature.name for feature in view.features]
    columns = tuple(keys) or view.entity.keys
    suffix = f"@{','.join(columns)}" if columns else ""
    references = {f"offline:{name}": f"{view.name}:{name}{suffix}" for name in names}
    offline = training_set(labels, references, [view], sources, at)
    if store is not None:
        online = _read(store, view, labels, columns, at)
    else:
        with tempfile.TemporaryDirectory() as folder:
            filled = OnlineStore(Path(folder))
            for name in view.source_names:
                filled.ingest(view, sources[name], name)
            online = _read(filled, view, labels, columns, at)
            del filled
    return _compare(names, {name: offline[f"offline:{name}"].to_numpy() for name in names}, online)


def _read(
    store: OnlineStore, view: FeatureView, labels: "pd.DataFrame", columns: Sequence[str], at: str
) -> Mapping[str, np.ndarray]:
    at_us, _ = bind_times("The label table", labels, at)
    return store.read(view.name, tuple(labels[column].to_numpy() for column in columns), at_us)


def _compare(names: Sequence[str], offline: dict[str, np.ndarray], online: Mapping[str, np.ndarray]) -> Parity:
    values = mismatches = 0
    first: Mismatch | None = None
    for name in names:
        one, other = offline[name], online[name]
        differ = ~((one == other) | (np.isnan(one) & np.isnan(other)))
        values, mismatches = values + len(one), mismatches + int(differ.sum())
        if first is None and differ.any():
            row = int(np.argmax(differ))
            first = Mismatch(name, row, *(None if np.isnan(x[row]) else float(x[row]) for x in (one, other)))
    return Parity(values, mismatches, first)
