"""Feature views: windowed features of an entity from one or more streams of events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from bottega.errors import InvalidInput, NotFound
from bottega.features.checks import check_duration, check_name, check_unique, find_feature, key_columns
from bottega.features.conditions import parse_where
from bottega.features.definition import Definition
from bottega.features.entity import Entity, check_entity
from bottega.features.source import Source
from bottega.features.windows import Aggregation, Feature
from bottega.times import parse_duration_s


@dataclass(frozen=True)
class FeatureView:
    """Windowed features of an entity.

    Time is cut into tiles of length `tile`. The value at time t covers the closed tiles before the one that holds t,
    and of their events those that are known at t. An event that becomes known later than `lateness` after it happened
    is refused, for training and serving alike.

    `sources` are one or more streams whose events count together. For a single one with the view's own column names,
    `source`, `event_time`, `available_at`, `delay`, `event_id` and `keys` say the same in place (see Source).
    `features` takes what `count().over(...)`, `mean(...).over(...)` and the others return.

    With `ttl`, an entity without any event for that long has no values at all. `freshness` is the owner's promise: how
    far the online store may lie behind the clock.
    """

    name: str
    entity: Entity
    sources: tuple[Source, ...]
    features: tuple[Feature, ...]
    tile: str = "5m"
    lateness: str = "1h"
    ttl: str | None = None
    freshness: str | None = None
    owner: str = ""
    description: str = ""

    def __init__(
        self,
        name: str,
        entity: Entity,
        source: str | None = None,
        event_time: str | None = None,
        features: Iterable[Feature | Iterable[Feature]] = (),
        tile: str = "5m",
        available_at: str | None = None,
        ttl: str | None = None,
        owner: str = "",
        description: str = "",
        keys: Sequence[str] = (),
        *,
        sources: Sequence[Source] = (),
        delay: str | None = None,
        event_id: str | None = None,
        lateness: str = "1h",
        freshness: str | None = None,
    ) -> None:
        check_name("FeatureView", name)
        what = f"FeatureView {name!r}"
        check_entity(what, entity)
        given = _sources(what, tuple(sources), (source, event_time, available_at, delay, event_id, keys))
        fields = {
            "name": name,
            "entity": entity,
            "sources": tuple(_with_keys(what, entity, one) for one in given),
            "features": _flatten(name, features),
            "tile": tile,
            "lateness": lateness,
            "ttl": ttl,
            "freshness": freshness,
            "owner": owner,
            "description": description,
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        _check_times(self)
        _check_columns(self)

    @property
    def definition(self) -> Definition:
        """The view as data, without the names of its sources."""
        return Definition(
            self.name,
            self.entity.keys,
            self.entity.dtype,
            parse_duration_s(self.tile),
            self.features,
            parse_duration_s(self.ttl) if self.ttl else 0,
            parse_duration_s(self.lateness),
            parse_duration_s(self.freshness) if self.freshness else 0,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the features aggregate or set conditions on, by the view's names."""
        found = [feature.column for feature in self.features if feature.column]
        found += [part.column for feature in self.features for part in parse_where(feature.where)]
        return tuple(dict.fromkeys(found))

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of the tables or streams that the view is made of."""
        return tuple(one.name for one in self.sources)

    def find_source(self, name: str = "") -> Source:
        """The source of that name, or the only one; NotFound says which there are."""
        for one in self.sources:
            if one.name == name or (not name and len(self.sources) == 1):
                return one
        raise NotFound(
            f"FeatureView {self.name!r} has no source {name!r}.",
            next_step=f"It has: {', '.join(self.source_names)}.",
        )

    def feature(self, name: str) -> Feature:
        """The feature of that name; NotFound says which there are."""
        return find_feature(
            f"FeatureView {self.name!r}", self.name, {feature.name: feature for feature in self.features}, name
        )


def _sources(what: str, several: tuple[Source, ...], single: tuple) -> tuple[Source, ...]:
    """The sources as given: several declared ones, or a single one's arguments."""
    source, event_time, *_ = single
    if several and any(single):
        raise InvalidInput(
            f"{what} says twice which events it counts: in sources, and in place.",
            next_step="Move source, event_time, available_at, delay, event_id and keys into sources=[Source(...)].",
        )
    if not several and not (source and event_time):
        raise InvalidInput(
            f"{what} does not say which events it counts.",
            next_step='Give source="trips" and event_time="dropoff_at", or sources=[Source(...), ...].',
        )
    given = several or (Source(*single),)
    for one in given:
        if not isinstance(one, Source):
            raise InvalidInput(f"{what}: {one!r} is no source.", next_step='Write Source("trips", "dropoff_at").')
    check_unique(what, [one.name for one in given], "source")
    return given


def _with_keys(what: str, entity: Entity, source: Source) -> Source:
    keys = key_columns(f"Source {source.name!r} of {what}", entity.keys, source.keys)
    return source.with_keys(keys)


def _flatten(view: str, features: object) -> tuple[Feature, ...]:
    flat: list[Feature] = []
    for item in [features] if isinstance(features, Feature | Aggregation | str) else cast(Iterable[object], features):
        if isinstance(item, Aggregation):
            raise InvalidInput(
                f"FeatureView {view!r}: {item} has no windows.", next_step=f'Write {item}.over("15m", "1h").'
            )
        for feature in item if isinstance(item, list | tuple) else [item]:
            if not isinstance(feature, Feature):
                raise InvalidInput(
                    f"FeatureView {view!r}: {feature!r} is no feature.",
                    next_step='Write for example mean("speed_kmh").over("15m").',
                )
            check_name(f"A feature of FeatureView {view!r}:", feature.name)
            flat.append(feature)
    if not flat:
        raise InvalidInput(f"FeatureView {view!r} has no features.", next_step='Add one: count().over("1h").')
    check_unique(f"FeatureView {view!r}", [feature.name for feature in flat])
    return tuple(flat)


def _check_times(view: FeatureView) -> None:
    what = f"FeatureView {view.name!r}"
    tile_s = check_duration(f"The tile of {what}:", view.tile)
    for feature in view.features:
        if feature.window_s % tile_s:
            below = feature.window_s // tile_s * tile_s
            raise InvalidInput(
                f"{what}: the window of {feature.name!r} is {feature.window_s} s, which is not a "
                f"multiple of the tile {view.tile} ({tile_s} s).",
                next_step=f"Use {below + tile_s}s{f' or {below}s' if below else ''}, or another tile.",
            )
    if view.ttl is not None and check_duration(f"The time to live of {what}:", view.ttl) % tile_s:
        raise InvalidInput(
            f"{what}: the time to live {view.ttl} is not a multiple of the tile {view.tile}.",
            next_step="Use a multiple of the tile.",
        )
    if view.freshness is not None:
        check_duration(f"The freshness of {what}:", view.freshness)
    lateness_s = check_duration(f"The lateness of {what}:", view.lateness)
    for source in view.sources:
        if source.delay_us > lateness_s * 1_000_000:
            raise InvalidInput(
                f"{what}: the delay of source {source.name!r} is {source.delay}, so every event would come later than "
                f"the lateness {view.lateness} allows.",
                next_step=f'Declare lateness="{source.delay}" or more.',
            )


def _check_columns(view: FeatureView) -> None:
    """Each source's columns are used, and none of those that are aggregated is a key or a time."""
    for source in view.sources:
        what = f"FeatureView {view.name!r}"
        for ours, _ in source.columns:
            if ours not in view.columns:
                raise InvalidInput(
                    f"{what}: source {source.name!r} names the column {ours!r}, which no feature uses.",
                    next_step=f"The features use: {', '.join(view.columns) or 'none'}.",
                )
        told: dict[str | None, str] = {source.event_time: "a time", source.available_at: "a time"}
        told |= dict.fromkeys(source.keys, "a key")
        if source.id_dtype == "string":
            told[source.event_id] = "an id of text"
        for feature in view.features:
            kind = told.get(source.column(feature.column))
            if feature.column and kind:
                raise InvalidInput(
                    f"{what}: {feature.name!r} aggregates {feature.column!r}, which is {kind} of source "
                    f"{source.name!r}.",
                    next_step="Aggregate a column of numbers, or count() the events.",
                )
