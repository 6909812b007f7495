"""The training set: features joined to labels as they were at each label's moment, and never later.

Shape of the query, the same for every engine that Ibis speaks to: tiles of the events, united with the distinct
(entity, tile) pairs of the labels; each window is a RANGE over earlier tiles; the labels' rows are kept, and joined
back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pyarrow as pa
from ibis.expr.types import Table

from bottega.errors import InvalidInput, NotFound
from bottega.features.binding import Events, bind_events, bind_keys, bind_times, check_columns
from bottega.features.definition import Layout, layout_of
from bottega.features.refs import Reference, References, View, resolve
from bottega.features.static import StaticView
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd


def training_set(
    labels: "pd.DataFrame",
    refs: References,
    views: Iterable[View],
    sources: Mapping[str, "pd.DataFrame"],
    at: str = "requested_at",
    progress: Progress = silent,
) -> "pd.DataFrame":
    """The labels with one float64 column more for each reference, rows and their order unchanged.

    `labels` holds the key columns and `at`, the moment of the request (datetime64[us, UTC], or int64 epoch_us); a row's
    features are what the online store would have answered at that moment. `sources` maps a source's name to its table.

    Raises NotFound for an unknown view, feature or source; InvalidData for a wrong column.
    """
    references = resolve(refs, views)
    taken = [reference.column for reference in references if reference.column in labels.columns]
    if taken:
        raise InvalidInput(f"The labels have a column {taken[0]!r} already.", next_step="Name the feature otherwise.")
    grouped: dict[str, list[Reference]] = {}
    for reference in references:
        grouped.setdefault(reference.view.name, []).append(reference)
    columns: dict[str, np.ndarray] = {}
    for done, (name, members) in enumerate(grouped.items()):
        progress(f"join {name}", done, len(grouped))
        view = members[0].view
        (needed,) = view.source_names
        if needed not in sources:
            raise NotFound(
                f"The source {needed!r} of view {name!r} was not given. Given: {', '.join(sources) or 'none'}."
            )
        join = _join_static if isinstance(view, StaticView) else _join_windows
        columns.update(join(labels, members, sources[needed], at))
    progress("join", len(grouped), len(grouped))
    return labels.assign(**{reference.column: columns[reference.column] for reference in references})


def _join_static(
    labels: "pd.DataFrame", references: Sequence[Reference], source: "pd.DataFrame", at: str
) -> dict[str, np.ndarray]:
    view = references[0].view
    assert isinstance(view, StaticView)
    table = view.table(source)
    columns = {}
    for reference in references:
        check_columns("The label table", labels, reference.keys)
        keys, known = bind_keys("The label table", labels, reference.keys, view.entity.dtype)
        (values,) = table.read([np.where(known, key, -1) for key in keys], [reference.feature])
        columns[reference.column] = values
    return columns


def _join_windows(
    labels: "pd.DataFrame", references: Sequence[Reference], source: "pd.DataFrame", at: str
) -> dict[str, np.ndarray]:
    view = references[0].view
    assert isinstance(view, FeatureView)
    layout = layout_of(view.definition)
    key_sets = list(dict.fromkeys(reference.keys for reference in references))
    requests = [_bind_labels(labels, view, keys, at, layout) for keys in key_sets]
    totals = window_totals(view, bind_events(view, source), requests)  # (states, W, key sets * labels)
    values = layout.values(totals).reshape(len(view.features), len(key_sets), len(labels))
    position = {feature.name: i for i, feature in enumerate(view.features)}
    return {r.column: values[position[r.feature], key_sets.index(r.keys)] for r in references}


Request = tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]
"""Key columns, tile number and validity of each label, (labels,) each."""


def _bind_labels(labels: "pd.DataFrame", view: FeatureView, keys: tuple[str, ...], at: str, layout: Layout) -> Request:
    what = "The label table"
    check_columns(what, labels, [*keys, at])
    columns, known = bind_keys(what, labels, keys, view.entity.dtype)
    at_us, present = bind_times(what, labels, at)
    return columns, at_us // layout.tile_us, known & present


def window_totals(view: FeatureView, events: Events, requests: Sequence[Request]) -> np.ndarray:
    """Window totals (states, W, all requests' labels) int64 of each request's rows, by DuckDB in memory."""
    layout = layout_of(view.definition)
    keys = [f"key_{i}" for i in range(len(view.entity.keys))]
    known = np.concatenate([valid for _, _, valid in requests])
    spine = {name: np.concatenate([columns[i] for columns, _, _ in requests]) for i, name in enumerate(keys)}
    spine |= {"tile": np.concatenate([tile for _, tile, _ in requests]), "row": np.arange(len(known))}
    wanted = ibis.memtable(pa.table({name: column[known] for name, column in spine.items()}))
    answer = _joined(view, layout, keys, _event_table(view, events, keys), wanted)
    engine = ibis.duckdb.connect()
    found = engine.to_pyarrow(answer)
    engine.disconnect()
    totals = np.empty((len(layout.states), len(layout.windows), len(known)), np.int64)
    totals[:] = layout.neutral[:, None, None]
    rows = found.column("row").to_numpy()
    for i in range(len(layout.states)):
        for j in range(len(layout.windows)):
            column = found.column(_name(i, j)).fill_null(int(layout.neutral[i]))
            totals[i, j, rows] = column.to_numpy()
    return totals


def _event_table(view: FeatureView, events: Events, keys: Sequence[str]) -> Table:
    columns: dict[str, pa.Array] = {name: pa.array(key) for name, key in zip(keys, events.keys, strict=True)}
    columns["tile"] = pa.array(events.tile)
    for i, (values, valid) in enumerate(zip(events.values, events.valid, strict=True)):
        columns[f"value_{i}"] = pa.array(values, mask=~valid)
    return ibis.memtable(pa.table(columns))


def _joined(view: FeatureView, layout: Layout, keys: Sequence[str], events: Table, wanted: Table) -> Table:
    group = [*keys, "tile"]
    tiles = events.group_by(group).aggregate(**_aggregates(view, layout, events))
    names = [f"state_{i}" for i in range(len(layout.states))]
    empty = {name: ibis.null("int64") for name in names}
    spine = wanted.select(group).distinct().mutate(**empty, wanted=ibis.literal(True))
    united = (
        tiles.mutate(wanted=ibis.literal(False))
        .select([*group, *names, "wanted"])
        .union(spine.select([*group, *names, "wanted"]))
    )
    windows = {}
    for j, length in enumerate(layout.windows.tolist()):
        frame = ibis.range_window(group_by=list(keys), order_by="tile", preceding=(length, 1))
        for i, state in enumerate(layout.states):
            combine = {"min": "min", "max": "max"}.get(state.kind, "sum")
            windows[_name(i, j)] = getattr(united[names[i]], combine)().over(frame).cast("int64")
    moments = united.select(*group, "wanted", **windows).filter(lambda row: row.wanted).drop("wanted")
    return wanted.inner_join(moments, group).select("row", *windows)


def _aggregates(view: FeatureView, layout: Layout, events: Table) -> dict[str, ibis.Expr]:
    found: dict[str, ibis.Expr] = {}
    for i, state in enumerate(layout.states):
        if state.kind == "rows":
            found[f"state_{i}"] = events.count()
            continue
        column = events[f"value_{view.definition.inputs.index(state.input)}"]
        reduced = {"n": column.count, "sum": column.sum, "min": column.min, "max": column.max}[state.kind]()
        found[f"state_{i}"] = reduced.cast("int64")
    return found


def _name(state: int, window: int) -> str:
    return f"s{state}_w{window}"
