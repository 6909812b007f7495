"""Provenance: the tiles and events behind one feature value, and why each event counts or does not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.binding import DUPLICATE, bind_events, bind_times, check_columns
from bottega.features.conditions import parse_where
from bottega.features.offline import TrainingSet
from bottega.features.source import Source
from bottega.features.view import FeatureView
from bottega.features.windows import Feature
from bottega.times import from_epoch_us, parse_duration_s

if TYPE_CHECKING:
    import pandas as pd

COUNTED = "counted"
OPEN_TILE = "in the open tile"
UNKNOWN_YET = "not known yet"
CONDITION = "condition not met"
NULL_VALUE = "null value"


class EventShare(msgspec.Struct, frozen=True):
    """One event of the entity in the window's reach: its times (ISO 8601, UTC), its value, and what became of it."""

    source: str
    event_time: str
    available_at: str
    value: float | None
    outcome: str


class TileShare(msgspec.Struct, frozen=True):
    """What the counted events of one tile contribute: when the tile begins, how many, and the sum of their values."""

    start: str
    events: int
    total: float | None


class Provenance(msgspec.Struct, frozen=True):
    """One value with everything behind it; `since` and `until` (exclusive) are the window's edges, ISO 8601 in UTC."""

    reference: str
    keys: tuple[int | str, ...]
    at: str
    since: str
    until: str
    value: float | None
    tiles: tuple[TileShare, ...]
    events: tuple[EventShare, ...]


def provenance(
    view: FeatureView,
    feature: str,
    sources: Mapping[str, "pd.DataFrame"],
    keys: tuple[int | str, ...],
    at_us: int,
) -> Provenance:
    """Why a feature has its value for one entity at a moment, from the view's source tables.

    Every event of the entity from the window's first tile up to the moment is listed with its outcome: `counted`, or
    the reason why not.
    """
    import pandas as pd

    declared = view.feature(feature)
    if len(keys) != len(view.entity.keys):
        raise InvalidInput(
            f"View {view.name!r} was given {len(keys)} keys.",
            next_step=f"Its keys are {', '.join(view.entity.keys) or 'none'}.",
        )
    tile_us = parse_duration_s(view.tile) * 1_000_000
    until_us = at_us // tile_us * tile_us
    since_us = until_us - declared.window_s * 1_000_000
    listed: list[tuple[int, EventShare]] = []
    for source in view.sources:
        mine = _rows_of(view, source, sources[source.name], keys, since_us, at_us)
        listed += _shares(view, declared, source, mine, until_us, at_us)
    label = pd.DataFrame({key: [value] for key, value in zip(view.entity.keys, keys, strict=True)} | {"_at": [at_us]})
    found = TrainingSet(label, {"_value": f"{view.name}:{feature}"}, at="_at").compute([view], sources)
    value = float(found["_value"].iloc[0])
    listed.sort(key=lambda pair: pair[0])
    return Provenance(
        f"{view.name}:{feature}",
        keys,
        _iso(at_us),
        _iso(since_us),
        _iso(until_us),
        None if np.isnan(value) else value,
        _tiles(listed, tile_us),
        tuple(share for _, share in listed),
    )


def _rows_of(
    view: FeatureView,
    source: Source,
    table: "pd.DataFrame",
    keys: tuple[int | str, ...],
    since_us: int,
    at_us: int,
) -> "pd.DataFrame":
    """The entity's rows from the window's first moment up to the request."""
    check_columns(f"The source {source.name!r} of FeatureView {view.name!r}", table, [*source.keys, source.event_time])
    mine = np.ones(len(table), bool)
    for column, key in zip(source.keys, keys, strict=True):
        mine &= (table[column] == key).fillna(False).to_numpy(bool)
    rows = table[mine]
    times = rows[source.event_time]
    if times.dtype.kind in "iu":
        return cast("pd.DataFrame", rows[(times >= since_us) & (times <= at_us)])
    return cast("pd.DataFrame", rows[(times >= from_epoch_us(since_us)) & (times <= from_epoch_us(at_us))])


def _shares(
    view: FeatureView, feature: Feature, source: Source, rows: "pd.DataFrame", until_us: int, at_us: int
) -> list[tuple[int, EventShare]]:
    """Each row's event time and share, in order of arrival."""
    found = []
    seen: set[tuple[int, ...]] = set()
    order = source.available_at or source.event_time
    arrivals = rows.sort_values(order, kind="stable")
    event_times, present = bind_times("The source", arrivals, source.event_time)
    available_times = event_times + source.delay_us
    if source.available_at:
        available_times, present = bind_times("The source", arrivals, source.available_at)
    for i, (event_us, available_us) in enumerate(zip(event_times.tolist(), available_times.tolist(), strict=True)):
        alone = arrivals.iloc[i : i + 1]
        bound = bind_events(view, alone, source.name)
        same = (*(int(part[0]) for part in bound.id), int(bound.tile[0])) if len(bound) and bound.id else None
        if len(bound) == 0:
            outcome = next(iter(bound.refused))
        elif same in seen:
            outcome = DUPLICATE
        elif event_us >= until_us:
            outcome = OPEN_TILE
        elif available_us > at_us:
            outcome = UNKNOWN_YET
        else:
            outcome = _outcome(feature, source, alone)
        if same is not None:
            seen.add(same)
        value = alone[source.column(feature.column)].iloc[0] if feature.column else np.nan
        available = _iso(available_us) if present[i] else ""
        known = None if np.isnan(value) else float(value)
        found.append((event_us, EventShare(source.name, _iso(event_us), available, known, outcome)))
    return found


def _outcome(feature: Feature, source: Source, alone: "pd.DataFrame") -> str:
    for part in parse_where(feature.where):
        if not part.holds(f"The source {source.name!r}", {part.column: alone[source.column(part.column)]})[0]:
            return CONDITION
    return NULL_VALUE if feature.column and alone[source.column(feature.column)].isna().iloc[0] else COUNTED


def _tiles(listed: list[tuple[int, EventShare]], tile_us: int) -> tuple[TileShare, ...]:
    tiles: dict[int, list[EventShare]] = {}
    for event_us, share in listed:
        if share.outcome == COUNTED:
            tiles.setdefault(event_us // tile_us, []).append(share)
    return tuple(
        TileShare(
            _iso(tile * tile_us),
            len(shares),
            None if shares[0].value is None else float(np.sum([share.value for share in shares])),
        )
        for tile, shares in sorted(tiles.items())
    )


def _iso(epoch_us: int) -> str:
    return from_epoch_us(epoch_us).isoformat()
