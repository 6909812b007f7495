"""The job: 20 windowed features for each label, as they were known at the label's moment.

Time is cut into tiles of five minutes. The value at a moment in tile k covers the events of tiles k - w to k - 1 of the
label's entity, of which those count that had become known (`available_at`) by then. An event that is known before its
own tile closes is *on time*; others are late, by an hour at most. An empty window has count 0, sum 0 and nothing else.

Every engine answers it in the same three parts, since two of them need no look at single events:

- *settled*: tiles k - w to k - 13. All their events are known, late or not.
- *recent*: tiles k - 12 to k - 1 (fewer for a shorter window). The events that were on time.
- *late*: of the recent tiles, the late events that were known at the label's moment; each label's are few.
"""

import msgspec

TILE_US = 300_000_000
RECENT = 12
"""Tiles that a late event may lie back: the lateness of one hour. Older tiles hold nothing that is still unknown."""
WINDOWS = {"15m": 3, "1h": 12, "24h": 288, "7d": 2016}
"""Tiles in each window."""
SCALES = {"fare_usd": 100, "duration_s": 1}
"""Fixed-point steps in one unit of each column."""
THREADS = 2


class Feature(msgspec.Struct, frozen=True):
    """One feature: an aggregate of a column ("" for count) over a window, of events that share the label's `key`."""

    key: str
    aggregate: str
    column: str
    window: str

    @property
    def name(self) -> str:
        """Its column in the answer."""
        return "_".join(part for part in (self.key, self.column, self.aggregate, self.window) if part)

    @property
    def tiles(self) -> int:
        """The length of its window in tiles."""
        return WINDOWS[self.window]

    @property
    def scale(self) -> int:
        """Fixed-point steps in one unit."""
        return SCALES.get(self.column, 1)

    @property
    def state(self) -> tuple[str, str]:
        """What is aggregated to answer it beside the number of events: a kind (n, sum, min, max) and a column."""
        return {"count": "n", "mean": "sum"}.get(self.aggregate, self.aggregate), self.column


_BY_ZONE = [
    ("count", "", "15m"),
    ("mean", "fare_usd", "1h"),
    ("count", "", "24h"),
    ("max", "fare_usd", "7d"),
    ("mean", "duration_s", "15m"),
    ("sum", "fare_usd", "1h"),
    ("min", "duration_s", "24h"),
    ("mean", "fare_usd", "24h"),
    ("count", "", "7d"),
    ("mean", "duration_s", "1h"),
]
_BY_DRIVER = [
    ("count", "", "24h"),
    ("sum", "fare_usd", "7d"),
    ("mean", "duration_s", "24h"),
    ("min", "fare_usd", "7d"),
    ("count", "", "1h"),
    ("mean", "fare_usd", "24h"),
    ("max", "duration_s", "24h"),
    ("count", "", "7d"),
    ("sum", "duration_s", "1h"),
    ("mean", "fare_usd", "7d"),
]
FEATURES = tuple(
    Feature(key, *rest)
    for pair in zip(_BY_ZONE, _BY_DRIVER, strict=True)
    for key, rest in zip(("zone", "driver"), pair, strict=True)
)
"""Ten by zone and ten by driver in turn, so that the first n are a smaller job of the same kind."""

READ_FEATURES = tuple(
    Feature("zone", aggregate, column, window)
    for aggregate, column in (
        ("count", ""),
        ("sum", "fare_usd"),
        ("mean", "fare_usd"),
        ("max", "fare_usd"),
        ("min", "duration_s"),
    )
    for window in WINDOWS
)
"""Twenty features of one zone, for reads online."""


class Job(msgspec.Struct, frozen=True):
    """What an engine is given; paths as text.

    `events` (Parquet): event_id int64, zone and driver int32, event_time and available_at timestamp[us, UTC], fare_usd
    float64, duration_s int32. `labels`: label int64, zone, driver, requested_at. The engine writes `answer`, a Parquet
    file or a folder of them: label and one float64 column a feature, rows in any order. `scratch` is a folder for its
    temporary files. With `copies`, an event may occur again with the same event_id and a later arrival: it counts once,
    from the first.
    """

    events: str
    labels: str
    answer: str
    scratch: str
    features: tuple[Feature, ...]
    memory_bytes: int
    copies: bool = False

    def of(self, key: str) -> tuple[Feature, ...]:
        """The features by that key."""
        return tuple(feature for feature in self.features if feature.key == key)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that features ask for."""
        return tuple(dict.fromkeys(feature.key for feature in self.features))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `events` that the features aggregate."""
        return tuple(dict.fromkeys(feature.column for feature in self.features if feature.column))


def states(features: tuple[Feature, ...]) -> tuple[tuple[str, str], ...]:
    """The states (kind, column) that answer the features, the number of events first."""
    return tuple(dict.fromkeys([("n", ""), *(feature.state for feature in features)]))


def parts(feature: Feature) -> tuple[str, ...]:
    """The parts that a feature's window consists of."""
    return ("settled", "recent", "late") if feature.tiles > RECENT else ("recent", "late")


def part_tiles(part: str, feature: Feature) -> int:
    """Tiles in a part of a feature's window."""
    return feature.tiles - RECENT if part == "settled" else min(feature.tiles, RECENT)


def long_windows(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """The features with a settled part."""
    return tuple(feature for feature in features if feature.tiles > RECENT)


def state_name(kind: str, column: str) -> str:
    """A name for a state."""
    return f"{kind}_{column}" if column else kind


def part_name(part: str, feature: Feature, kind: str, column: str) -> str:
    """A name for a state of a part of a feature's window; equal for features that share it."""
    return f"{part}_{state_name(kind, column)}_{part_tiles(part, feature)}"


def part_states(part: str, features: tuple[Feature, ...]) -> dict[str, tuple[tuple[str, str], int]]:
    """What a part of the features' windows takes, each once: its name, the state, and how many tiles it covers."""
    members = long_windows(features) if part == "settled" else features
    return {
        part_name(part, feature, *state): (state, part_tiles(part, feature))
        for feature in members
        for state in states((feature,))
    }


def part_names(feature: Feature, kind: str, column: str) -> dict[str, str]:
    """The names of a state in the two or three parts of a feature's window, by part."""
    return {part: part_name(part, feature, kind, column) for part in parts(feature)}
