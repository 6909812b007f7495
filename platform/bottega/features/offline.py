"""The training set: features joined to labels as they were at each label's moment, and never later.

Labels become whole numbers in `requests`; events are bound, and taken bucket by bucket where they do not fit memory, in
`buckets`. A bucket's tiles are in `history`, its windows in `totals`. The expressions are in `spine`, `late` and
`variety`, the engines that run them in `engines`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.features.backfill import backfill
from bottega.features.batches import Batches
from bottega.features.binding import Events, bind_keys, check_columns
from bottega.features.buckets import Buckets, Tables
from bottega.features.definition import Definition, Layout, layout_of
from bottega.features.engines import MEMORY_LIMIT, Engine, open_engine, parse_bytes
from bottega.features.external import ExternalView, read_external
from bottega.features.history import History, history_of_events
from bottega.features.refs import Reference, References, View, resolve
from bottega.features.requests import Requests, bind_requests
from bottega.features.static import StaticView
from bottega.features.store import OfflineStore
from bottega.features.stored import Stored, StoredBuckets, history_of_tiles
from bottega.features.totals import window_totals
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us

if TYPE_CHECKING:
    import pandas as pd

Refusals = Callable[[str, Mapping[str, int]], None]
"""Told each view's refused events by reason."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Labels, and the features that join them as they were at each label's moment; `compute` joins them.

    `labels` holds the key columns and `at`, the moment of the request (datetime64[us, UTC], or int64 epoch_us); a row's
    features are what the online store would have answered at that moment. `features` are references, or
    {new column: reference}.
    """

    labels: "pd.DataFrame"
    features: References
    at: str = "requested_at"

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise InvalidInput(
                f"The features of a training set are the text {self.features!r}.",
                next_step=f"Give a list, [{self.features!r}], or {{new column: reference}}.",
            )

    def compute(
        self,
        views: Iterable[View],
        sources: Tables,
        *,
        engine: str = "duckdb",
        memory_limit: str = MEMORY_LIMIT,
        tiles: OfflineStore | None = None,
        refused: Refusals = lambda view, counts: None,
        progress: Progress = silent,
    ) -> "pd.DataFrame":
        """The labels with one float64 column more for each feature, rows and their order unchanged.

        `sources` maps a source's name to its table: a data frame, or Parquet files (a path, a folder, a list), which
        are read in batches. `engine` is `duckdb` or `spark`; `memory_limit` is about what the work may take beside
        labels and answer. With `tiles`, the views' tiles are kept there by day: only days that are new or changed are
        computed (see `backfill`). `refused` is told what the rules left out of what was read.

        Raises NotFound for an unknown view, feature or source; InvalidData for a wrong column.
        """
        references = resolve(self.features, views)
        grouped = _by_view(references, self.labels, sources)
        columns: dict[str, np.ndarray] = {}
        memory_bytes = parse_bytes(memory_limit) // 2  # half for the engine, half for its input
        with open_engine(engine, memory_bytes) as opened:
            run = _Run(opened, memory_bytes, tiles, refused, progress)
            for done, (name, members) in enumerate(grouped.items()):
                progress(f"join {name}", done, len(grouped))
                view = members[0].view
                if isinstance(view, ExternalView):
                    columns.update(_join_external(self.labels, members, sources, self.at, progress))
                elif isinstance(view, StaticView):
                    columns.update(_join_static(self.labels, members, sources[view.source]))
                else:
                    columns.update(_join_windows(self.labels, members, sources, self.at, run))
        progress("join", len(grouped), len(grouped))
        return self.labels.assign(**{reference.column: columns[reference.column] for reference in references})


def _by_view(references: Sequence[Reference], labels: "pd.DataFrame", sources: Tables) -> dict[str, list[Reference]]:
    """The references by their view's name; raises for a column that the labels have, and for a missing source."""
    grouped: dict[str, list[Reference]] = {}
    for reference in references:
        if reference.column in labels.columns:
            raise InvalidInput(
                f"The labels have a column {reference.column!r} already.", next_step="Name the feature otherwise."
            )
        grouped.setdefault(reference.view.name, []).append(reference)
    for name, members in grouped.items():
        for needed in members[0].view.source_names:
            if needed not in sources:
                raise NotFound(
                    f"The source {needed!r} of view {name!r} was not given. Given: {', '.join(sources) or 'none'}."
                )
    return grouped


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
    labels: "pd.DataFrame", references: Sequence[Reference], sources: Tables, at: str, run: "_Run"
) -> dict[str, np.ndarray]:
    view = references[0].view
    assert isinstance(view, FeatureView)
    definition, layout = view.definition, layout_of(view.definition)
    key_sets = list(dict.fromkeys(reference.keys for reference in references))
    requests = bind_requests(view, labels, key_sets, at)
    first_tile, end_tile = requests.seen_tiles(layout.longest)
    values = np.empty((len(view.features), len(key_sets) * len(labels)))
    values[:] = layout.values(_nothing(layout))
    for part, mine in _parts(view, sources, requests, run):
        if not len(mine):
            continue
        try:
            history = _history(run.engine, definition, part, first_tile, end_tile - first_tile)
            totals = window_totals(run.engine, definition, history, mine)
        except OverflowError as error:
            raise _too_large(definition, part) from error
        values[:, mine.row] = layout.values(totals)
    shaped = values.reshape(len(view.features), len(key_sets), len(labels))
    position = {feature.name: i for i, feature in enumerate(view.features)}
    return {r.column: shaped[position[r.feature], key_sets.index(r.keys)] for r in references}


@dataclass(frozen=True)
class _Run:
    """What one call works with."""

    engine: Engine
    memory_bytes: int
    tiles: OfflineStore | None
    refused: Refusals
    progress: Progress


def _parts(
    view: FeatureView, sources: Tables, requests: Requests, run: _Run
) -> Iterator[tuple[Events | Stored, Requests]]:
    """Bucket by bucket, the events or stored tiles that requests may see."""
    if run.tiles is None or not len(requests):
        buckets = Buckets(view, sources, requests, run.memory_bytes)
        yield from buckets.read(run.progress)
        run.refused(view.name, buckets.refused)
        return
    layout = layout_of(view.definition)
    first_us, end_us = (max(tile, 0) * layout.tile_us for tile in requests.seen_tiles(layout.longest))
    end_us = max(end_us, first_us + 1)
    done = backfill(view, sources, run.tiles, from_epoch_us(first_us), from_epoch_us(end_us), run.progress)
    run.refused(view.name, done.refused)
    yield from StoredBuckets(view, run.tiles, requests, first_us, end_us, run.memory_bytes).read(run.progress)


def _history(engine: Engine, definition: Definition, part: Events | Stored, first_tile: int, span: int) -> History:
    if isinstance(part, Stored):
        return history_of_tiles(engine, definition, part, first_tile, span)
    return history_of_events(engine, definition, part, first_tile, span)


def _too_large(definition: Definition, part: Events | Stored) -> InvalidData:
    """The error that names the column whose values add up beyond 64 bits: the one with the largest sum."""
    if isinstance(part, Stored):
        summed = [
            (state.input, part.pieces.column(f"state_{i}").to_numpy())
            for i, state in enumerate(definition.states)
            if state.adds
        ]
    else:
        summed = list(zip(definition.inputs, part.values, strict=True))
    one, _ = max(summed, key=lambda pair: float(np.abs(pair[1]).sum(dtype=np.float64)))
    return InvalidData(
        f"FeatureView {definition.view!r}: a sum of {one.column!r} does not fit 64 bits.",
        next_step=f"Declare a smaller scale than {one.scale} for it.",
    )


def _nothing(layout: Layout) -> np.ndarray:
    """The totals of one request without events."""
    return np.tile(layout.neutral[:, None, None], (1, len(layout.windows), 1))
