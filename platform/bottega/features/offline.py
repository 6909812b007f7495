"""The training set: features joined to labels as they were at each label's moment, and never later.

The expressions are in `spine`, the engines that run them in `engines`; events that do not fit memory are taken bucket
by bucket (`spill`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ibis.expr.types import Table

from bottega.errors import InvalidInput, NotFound
from bottega.features import spine
from bottega.features.batches import Batches
from bottega.features.binding import Events, bind_keys, check_columns
from bottega.features.definition import REFUSED, Definition, Layout, layout_of
from bottega.features.engines import MEMORY_LIMIT, Engine, open_engine
from bottega.features.external import ExternalView, read_external
from bottega.features.refs import Reference, References, View, resolve
from bottega.features.requests import Requests, bind_requests
from bottega.features.spill import Spill, Tables
from bottega.features.static import StaticView
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

Refusals = Callable[[str, Mapping[str, int]], None]
"""Told each view's refused events by reason."""


def training_set(
    labels: "pd.DataFrame",
    refs: References,
    views: Iterable[View],
    sources: Tables,
    at: str = "requested_at",
    *,
    engine: str = "duckdb",
    memory_limit: str = MEMORY_LIMIT,
    refused: Refusals = lambda view, counts: None,
    progress: Progress = silent,
) -> "pd.DataFrame":
    """The labels with one float64 column more for each reference, rows and their order unchanged.

    `labels` holds the key columns and `at`, the moment of the request (datetime64[us, UTC], or int64 epoch_us); a row's
    features are what the online store would have answered at that moment. `sources` maps a source's name to its table:
    a data frame, or Parquet files (a path, a folder, a list), which are read in batches. `engine` is `duckdb` or
    `spark`; `memory_limit` is DuckDB's own. `refused` is told what the rules left out.

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
    with open_engine(engine, memory_limit) as opened:
        for done, (name, members) in enumerate(grouped.items()):
            progress(f"join {name}", done, len(grouped))
            view = members[0].view
            for needed in view.source_names:
                if needed not in sources:
                    raise NotFound(
                        f"The source {needed!r} of view {name!r} was not given. Given: {', '.join(sources) or 'none'}."
                    )
            if isinstance(view, ExternalView):
                columns.update(_join_external(labels, members, sources, at, progress))
            elif isinstance(view, StaticView):
                columns.update(_join_static(labels, members, sources[view.source]))
            else:
                columns.update(_join_windows(labels, members, sources, at, opened, refused, progress))
    progress("join", len(grouped), len(grouped))
    return labels.assign(**{reference.column: columns[reference.column] for reference in references})


def _join_static(labels: "pd.DataFrame", references: Sequence[Reference], source: Any) -> dict[str, np.ndarray]:
    import pandas as pd

    view = references[0].view
    assert isinstance(view, StaticView)
    wanted = [*view.keys, *(feature.name for feature in view.features)]
    rows = pd.concat(list(Batches(f"The source {view.source!r} of StaticView {view.name!r}", source).read(wanted)))
    table = view.table(rows.reset_index(drop=True))
    columns = {}
    for reference in references:
        check_columns("The label table", labels, reference.keys)
        keys, known = bind_keys("The label table", labels, reference.keys, view.entity.dtype)
        (values,) = table.read([np.where(known, key, -1) for key in keys], [reference.feature])
        columns[reference.column] = values
    return columns


def _join_external(
    labels: "pd.DataFrame", references: Sequence[Reference], sources: Tables, at: str, progress: Progress
) -> dict[str, np.ndarray]:
    view = references[0].view
    assert isinstance(view, ExternalView)
    key_sets = dict.fromkeys(reference.keys for reference in references)
    found = {keys: read_external(view, labels, keys, at, sources, progress=progress) for keys in key_sets}
    return {reference.column: found[reference.keys][reference.feature] for reference in references}


def _join_windows(
    labels: "pd.DataFrame",
    references: Sequence[Reference],
    sources: Tables,
    at: str,
    engine: Engine,
    refused: Refusals,
    progress: Progress,
) -> dict[str, np.ndarray]:
    view = references[0].view
    assert isinstance(view, FeatureView)
    layout = layout_of(view.definition)
    key_sets = list(dict.fromkeys(reference.keys for reference in references))
    requests = bind_requests(view, labels, key_sets, at)
    totals = np.empty((len(layout.states), len(layout.windows), len(key_sets) * len(labels)), np.int64)
    totals[:] = layout.neutral[:, None, None]
    spill = Spill(view, sources, requests.entities)
    for bucket in spill.read():
        if spill.buckets > 1:
            progress(f"windows of {view.name}", bucket.number, spill.buckets)
        mine = requests if spill.buckets == 1 else requests.take(requests.entity % spill.buckets == bucket.number)
        if len(mine):
            add_totals(totals, view, layout, bucket.events, mine, engine)
    refused(view.name, spill.refused)
    values = layout.values(totals).reshape(len(view.features), len(key_sets), len(labels))
    position = {feature.name: i for i, feature in enumerate(view.features)}
    return {r.column: values[position[r.feature], key_sets.index(r.keys)] for r in references}


def add_totals(
    totals: np.ndarray, view: FeatureView, layout: Layout, events: Events, requests: Requests, engine: Engine
) -> None:
    """Add the window totals of requests to totals (states, W, rows), by the engine."""
    definition = view.definition
    late = events.available_us // layout.tile_us > events.tile
    ranked = {i: definition.inputs.index(s.input) for i, s in enumerate(layout.states) if s.kind == "last"}
    ranks = {position: spine.rank_events(events, position) for position in ranked.values()}
    given = spine.event_table(events, definition, {position: rank for position, (rank, _) in ranks.items()})
    asked = engine.table("asked", spine.request_table(requests))
    on_time = engine.table("on_time", given.filter(pa.array(~late)))
    reach = -(-definition.lateness_s // definition.tile_s)

    def merge(part: pa.Table, rows: np.ndarray, place: np.ndarray) -> None:
        _combine(totals, layout, part, rows, place, ranked, ranks, events)

    _add_windows(totals, layout, requests, on_time, asked, engine, merge, 0, definition)
    if late.any():
        came_late = engine.table("late", given.filter(pa.array(late)))
        if layout.longest > reach:
            _add_windows(totals, layout, requests, came_late, asked, engine, merge, reach, definition)
        newest = spine.tiles(came_late, definition, layout, ["entity", "tile", "available_us"])
        part = engine.run(spine.recent(newest, asked, layout, reach))
        merge(part, part.column("row").to_numpy(), np.arange(part.num_rows))
    for i, state in enumerate(layout.states):
        if state.kind != "distinct":
            continue
        value = f"value_{definition.inputs.index(state.input)}"
        known = pc.if_else(pa.array(late), given.column("available_us"), np.iinfo(np.int64).min)
        cells = pa.table(
            {
                "entity": given.column("entity"),
                "tile": given.column("tile"),
                "available_us": known,
                "value": given.column(value),
            }
        ).filter(pc.is_valid(given.column(value)))
        values = engine.table("cells", cells).distinct()
        for j in (window for window in range(len(layout.windows)) if (i, window) in layout.needed):
            counted = engine.run(spine.distinct_counts(values, asked, layout, i, j))
            count = counted.column(spine.total_of(i, j)).to_numpy()
            totals[i, j, counted.column("row").to_numpy()] = np.where(count > state.cap, REFUSED, count)


Merge = Callable[[pa.Table, np.ndarray, np.ndarray], None]
"""Combines an answer's totals, at places (n,), into rows (n,)."""


def _add_windows(
    totals: np.ndarray,
    layout: Layout,
    requests: Requests,
    events: Table,
    asked: Table,
    engine: Engine,
    merge: Merge,
    delay_tiles: int,
    definition: Definition,
) -> None:
    """Add the windows over tiles at least `delay_tiles` + 1 before each request's own."""
    tiles = spine.tiles(events, definition, layout, ["entity", "tile"])
    states = spine.sums(layout, delay_tiles)
    if states:
        running = engine.run(spine.running_totals(tiles, asked, layout, delay_tiles))
        places = _Places(running)
        columns = {i: running.column(spine.name_of(i)).to_numpy() for i in states}
        end = places.find(requests.entity, requests.tile - delay_tiles - 1)
        for j, length in enumerate(layout.windows.tolist()):
            if length > delay_tiles:
                begin = places.find(requests.entity, requests.tile - length - 1)
                for i in spine.needed_states(layout, j):
                    if i in columns:
                        totals[i, j, requests.row] += columns[i][end] - columns[i][begin]
    if spine.extremes(layout, delay_tiles):
        found = engine.run(spine.extreme_totals(tiles, asked, layout, delay_tiles))
        merge(found, requests.row, _Places(found).find(requests.entity, requests.tile))


class _Places:
    """Where a table's (entity, tile) stands; every pair that is asked for is there."""

    def __init__(self, table: pa.Table) -> None:
        entity, tile = (table.column(name).to_numpy().astype(np.int64) for name in ("entity", "tile"))
        self._least = int(tile.min()) if len(tile) else 0
        self._span = (int(tile.max()) if len(tile) else 0) - self._least + 1
        code = self._code(entity, tile)
        self._order = np.argsort(code)
        self._sorted = code[self._order]

    def find(self, entity: np.ndarray, tile: np.ndarray) -> np.ndarray:
        """The places of pairs, (n,) each."""
        return self._order[np.searchsorted(self._sorted, self._code(entity, tile))]

    def _code(self, entity: np.ndarray, tile: np.ndarray) -> np.ndarray:
        return np.asarray(entity, np.int64) * self._span + (tile - self._least)


def _combine(
    totals: np.ndarray,
    layout: Layout,
    part: pa.Table,
    rows: np.ndarray,
    place: np.ndarray,
    ranked: Mapping[int, int],
    ranks: Mapping[int, tuple[np.ndarray, np.ndarray]],
    events: Events,
) -> None:
    """Combine an engine's answer, at places (n,), into the totals of rows (n,)."""
    for i in spine.scalar_states(layout):
        for j in range(len(layout.windows)):
            name = spine.total_of(i, j)
            if name not in part.column_names:
                continue
            state, column = layout.states[i], part.column(name)
            if state.kind == "last":
                rank = column.fill_null(-1).to_numpy()[place]
                _take_last(totals, i, j, rows, rank, ranks[ranked[i]][1], events, ranked[i])
                continue
            values = column.fill_null(state.neutral).to_numpy()[place]
            combine = {"min": np.minimum, "max": np.maximum}.get(state.kind, np.add)
            totals[i, j, rows] = combine(totals[i, j, rows], values)


def _take_last(
    totals: np.ndarray,
    state: int,
    window: int,
    rows: np.ndarray,
    rank: np.ndarray,
    order: np.ndarray,
    events: Events,
    position: int,
) -> None:
    """Keep the later of what was there and the event of a rank (-1: none), by time and value."""
    known = rank >= 0
    rows, event = rows[known], order[rank[known]]
    at, value = events.event_us[event], events.values[position][event]
    old_at, old_value = totals[state - 1, window, rows], totals[state, window, rows]
    later = (at > old_at) | ((at == old_at) & (value > old_value))
    totals[state - 1, window, rows] = np.where(later, at, old_at)
    totals[state, window, rows] = np.where(later, value, old_value)
