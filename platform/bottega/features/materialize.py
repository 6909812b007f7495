"""Materialise: put a span of past events into the online store, so that it answers as if it had seen them pass."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from bottega.errors import InvalidInput
from bottega.features.binding import bind_events
from bottega.features.online import OnlineStore
from bottega.features.tiles import tiles_of
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s, to_epoch_us

if TYPE_CHECKING:
    import pandas as pd


def materialize(
    view: FeatureView, sources: Mapping[str, "pd.DataFrame"], store: OnlineStore, since: datetime, until: datetime
) -> int:
    """Make the store's tiles in [since, until) those of the view's sources, in one transaction; returns how many count.

    The sources must hold all events of the span; those outside it are ignored. Running it again changes nothing.
    `since` and `until` lie on tile edges, else InvalidInput.
    """
    first, end = _tile_edge(view, "since", since), _tile_edge(view, "until", until)
    if end <= first:
        raise InvalidInput(f"until ({until}) is not after since ({since}).", next_step="Swap them.")
    (name,) = view.source_names
    bound = bind_events(view, sources[name])
    inside = bound.take((bound.tile >= first) & (bound.tile < end))
    store.replace(view.definition, tiles_of(inside, view.definition), first, end)
    return len(inside.tile)


def _tile_edge(view: FeatureView, name: str, moment: datetime) -> int:
    tile, rest = divmod(to_epoch_us(moment), parse_duration_s(view.tile) * 1_000_000)
    if rest:
        raise InvalidInput(
            f"{name} ({moment}) does not lie on an edge of the {view.tile} tiles of FeatureView {view.name!r}.",
            next_step=f"Choose a multiple of {view.tile} since midnight UTC.",
        )
    return tile
