"""The job as SQL, one text for DuckDB and Spark: they differ in two words only.

For each key: events added up to tiles; the tiles united with the labels' (entity, tile) pairs; each window a RANGE over
earlier tiles. The late events are unrolled to the tiles in which they still matter, so that they too are found by
equality.
"""

from dataclasses import dataclass

from peers.features.job import (
    RECENT,
    SCALES,
    TILE_US,
    Feature,
    Job,
    long_windows,
    part_names,
    part_states,
    state_name,
    states,
)


@dataclass(frozen=True)
class Dialect:
    """The function from a time to microseconds, the operator of whole division, and a table of the numbers 1 to 12."""

    microseconds: str
    divide: str
    steps: str


def label_view(dialect: Dialect, labels: str) -> str:
    """The labels with their tile: label, zone, driver, at_us, tile."""
    at_us = f"{dialect.microseconds}(requested_at)"
    return f"SELECT label, zone, driver, {at_us} AS at_us, {at_us} {dialect.divide} {TILE_US} AS tile FROM {labels}"


def event_view(dialect: Dialect, job: Job, events: str) -> str:
    """The events, each once, in whole numbers: zone, driver, tile, available_us, late, and the fixed-point columns."""
    fixed = [f"CAST(ROUND({name} * {SCALES[name]}) AS BIGINT) AS {name}" for name in job.columns]
    event_us, available_us = (f"{dialect.microseconds}({name})" for name in ("event_time", "available_at"))
    bound = ", ".join(
        [
            *("event_id" for _ in range(job.copies)),
            f"zone, driver, {event_us} {dialect.divide} {TILE_US} AS tile, {available_us} AS available_us",
            *fixed,
        ]
    )
    late = f"available_us {dialect.divide} {TILE_US} > tile AS late"
    if not job.copies:
        return f"SELECT *, {late} FROM (SELECT {bound} FROM {events})"
    same = ", ".join(f"ANY_VALUE({name}) AS {name}" for name in ("zone", "driver", "tile", *job.columns))
    once = f"SELECT {same}, MIN(available_us) AS available_us FROM (SELECT {bound} FROM {events}) GROUP BY event_id"
    return f"SELECT *, {late} FROM ({once})"


def answer_query(dialect: Dialect, job: Job) -> str:
    """The answer from the views `labels` and `events`: label and each feature."""
    parts = []
    for key in job.keys:
        features = job.of(key)
        parts += [
            f"{key}_tiles AS ({_tiles(key, features)})",
            f"{key}_windows AS ({_windows(key, features)})",
            f"{key}_late AS ({_late(key, features, dialect.steps)})",
        ]
    joins = "".join(
        f" JOIN {key}_windows ON {key}_windows.entity = labels.{key} AND {key}_windows.tile = labels.tile"
        f" LEFT JOIN {key}_late ON {key}_late.label = labels.label"
        for key in job.keys
    )
    values = ", ".join(f"{_value(feature)} AS {feature.name}" for feature in job.features)
    return f"WITH {', '.join(parts)} SELECT labels.label, {values} FROM labels{joins}"


def _tiles(key: str, features: tuple[Feature, ...]) -> str:
    settled = [f"{_aggregate(*state)} AS all_{state_name(*state)}" for state in states(long_windows(features))]
    on_time = [f"{_aggregate(*state, 'NOT late')} AS on_{state_name(*state)}" for state in states(features)]
    return f"SELECT {key} AS entity, tile, {', '.join(settled + on_time)} FROM events GROUP BY {key}, tile"


def _windows(key: str, features: tuple[Feature, ...]) -> str:
    columns = [f"all_{state_name(*state)}" for state in states(long_windows(features))] + [
        f"on_{state_name(*state)}" for state in states(features)
    ]
    empty = ", ".join(f"CAST(NULL AS BIGINT) AS {column}" for column in columns)
    united = (
        f"SELECT entity, tile, {', '.join(columns)}, FALSE AS wanted FROM {key}_tiles UNION ALL "
        f"SELECT {key}, tile, {empty}, TRUE FROM (SELECT DISTINCT {key}, tile FROM labels)"
    )
    frames = {}
    for part, prefix, shift in (("settled", "all", RECENT), ("recent", "on", 0)):
        for name, ((kind, column), tiles) in part_states(part, features).items():
            total = f"{_combine(kind)}({prefix}_{state_name(kind, column)})"
            between = f"{tiles + shift} PRECEDING AND {shift + 1} PRECEDING"
            frames[name] = f"{total} OVER (PARTITION BY entity ORDER BY tile RANGE BETWEEN {between})"
    selected = ", ".join(f"CAST({frame} AS BIGINT) AS {name}" for name, frame in frames.items())
    return f"SELECT * FROM (SELECT entity, tile, wanted, {selected} FROM ({united})) WHERE wanted"


def _late(key: str, features: tuple[Feature, ...], steps: str) -> str:
    selected = ", ".join(
        f"{_aggregate(*state, f'step <= {tiles}')} AS {name}"
        for name, (state, tiles) in part_states("late", features).items()
    )
    unrolled = f"SELECT *, tile + step AS at_tile FROM events CROSS JOIN {steps} WHERE late"
    return (
        f"SELECT labels.label, {selected} FROM labels JOIN ({unrolled}) AS event ON event.{key} = labels.{key} "
        "AND event.at_tile = labels.tile AND event.available_us <= labels.at_us GROUP BY labels.label"
    )


def _value(feature: Feature) -> str:
    kind, column = feature.state
    n, main = _total(feature, "n", ""), _total(feature, kind, column)
    if feature.aggregate == "mean":
        return f"CASE WHEN {n} > 0 THEN CAST({main} AS DOUBLE) / CAST({n} * {feature.scale} AS DOUBLE) END"
    return f"CAST({main} AS DOUBLE) / CAST({feature.scale} AS DOUBLE)"


def _total(feature: Feature, kind: str, column: str) -> str:
    """A state of the whole window from its two or three parts."""
    found = [
        f"{feature.key}_{'late' if part == 'late' else 'windows'}.{name}"
        for part, name in part_names(feature, kind, column).items()
    ]
    if kind in ("n", "sum"):
        return f"({' + '.join(f'COALESCE({part}, 0)' for part in found)})"
    return f"{'LEAST' if kind == 'min' else 'GREATEST'}({', '.join(found)})"


def _aggregate(kind: str, column: str, condition: str = "") -> str:
    call = "COUNT(*)" if kind == "n" else f"{kind.upper()}({column})"
    return f"CAST({call}{f' FILTER (WHERE {condition})' if condition else ''} AS BIGINT)"


def _combine(kind: str) -> str:
    return kind.upper() if kind in ("min", "max") else "SUM"
