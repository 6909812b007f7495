"""Feature views: windowed features of an entity from a stream of events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bottega.errors import InvalidInput
from bottega.features.checks import check_name, check_unique, find_feature, key_columns
from bottega.features.definition import Definition
from bottega.features.entity import Entity
from bottega.features.windows import Aggregation, Feature
from bottega.times import parse_duration_s


@dataclass(frozen=True)
class FeatureView:
    """Windowed features of one entity from one source of events.

    Time is cut into tiles of length `tile`. The value at time t covers the closed tiles before the one that holds t:
    an event counts from the first tile edge after it, never before. With `available_at` (the column that says when an
    event became known), an event counts in the tile in which it became available, if that is later than its own. With
    `ttl`, an entity without any event for that long has no values at all.

    `keys` names the source's columns that hold the entity's keys, where they are named differently there. `features`
    takes what `count().over(...)`, `mean(...).over(...)` and the others return.
    """

    name: str
    entity: Entity
    source: str
    event_time: str
    features: tuple[Feature, ...]
    tile: str = "5m"
    available_at: str | None = None
    ttl: str | None = None
    owner: str = ""
    description: str = ""
    keys: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        entity: Entity,
        source: str,
        event_time: str,
        features: Iterable[Feature | Iterable[Feature]],
        tile: str = "5m",
        available_at: str | None = None,
        ttl: str | None = None,
        owner: str = "",
        description: str = "",
        keys: Sequence[str] = (),
    ) -> None:
        check_name("FeatureView", name)
        check_name(f"The source of FeatureView {name!r}:", source)
        for column in (event_time, *([available_at] if available_at else []), *keys):
            check_name(f"A column of FeatureView {name!r}:", column)
        fields = {
            "name": name,
            "entity": entity,
            "source": source,
            "event_time": event_time,
            "features": _flatten(name, features),
            "tile": tile,
            "available_at": available_at,
            "ttl": ttl,
            "owner": owner,
            "description": description,
            "keys": key_columns(f"FeatureView {name!r}", entity.keys, keys),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        _check_windows(self)

    @property
    def definition(self) -> Definition:
        """The view as data, without the names of its source."""
        ttl_s = parse_duration_s(self.ttl) if self.ttl else 0
        return Definition(
            self.name, self.entity.keys, self.entity.dtype, parse_duration_s(self.tile), self.features, ttl_s
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The source's columns that the features aggregate."""
        return tuple(dict.fromkeys(feature.column for feature in self.features if feature.column))

    def feature(self, name: str) -> Feature:
        """The feature of that name; NotFound says which there are."""
        return find_feature(
            f"FeatureView {self.name!r}", self.name, {feature.name: feature for feature in self.features}, name
        )


def _flatten(view: str, features: Iterable[object]) -> tuple[Feature, ...]:
    flat: list[Feature] = []
    for item in features:
        if isinstance(item, Aggregation):
            raise InvalidInput(
                f"FeatureView {view!r}: {item} has no windows.", next_step=f'Write {item}.over("15m", "1h").'
            )
        members = [item] if isinstance(item, Feature) or not isinstance(item, list | tuple) else list(item)
        for feature in members:
            if not isinstance(feature, Feature):
                raise InvalidInput(
                    f"FeatureView {view!r}: {feature!r} is no feature.",
                    next_step='Write for example mean("speed_kmh").over("15m").',
                )
            flat.append(feature)
    if not flat:
        raise InvalidInput(f"FeatureView {view!r} has no features.", next_step='Add one: count().over("1h").')
    check_unique(f"FeatureView {view!r}", [feature.name for feature in flat])
    return tuple(flat)


def _check_windows(view: FeatureView) -> None:
    tile_s = parse_duration_s(view.tile)
    scales: dict[str, int] = {}
    for feature in view.features:
        if feature.window_s % tile_s:
            below = feature.window_s // tile_s * tile_s
            raise InvalidInput(
                f"FeatureView {view.name!r}: the window of {feature.name!r} is {feature.window_s} s, which is not a "
                f"multiple of the tile {view.tile} ({tile_s} s).",
                next_step=f"Use {below + tile_s}s{f' or {below}s' if below else ''}, or another tile.",
            )
        if feature.column and scales.setdefault(feature.column, feature.scale) != feature.scale:
            raise InvalidInput(
                f"FeatureView {view.name!r}: column {feature.column!r} has scale {scales[feature.column]} and "
                f"{feature.scale}.",
                next_step="Give all its aggregations the same scale.",
            )
    if view.ttl and parse_duration_s(view.ttl) % tile_s:
        raise InvalidInput(
            f"FeatureView {view.name!r}: the time to live {view.ttl} is not a multiple of the tile {view.tile}.",
            next_step="Use a multiple of the tile.",
        )
