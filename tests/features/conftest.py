"""Shared by the feature tests: a brute-force oracle, and trips of an invented city."""

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bottega.features import FeatureView
from bottega.features.conditions import parse_where
from bottega.times import parse_duration_s

Oracle = Callable[..., dict[str, list[float]]]
COMPARE = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def brute_force(
    view: FeatureView,
    sources: pd.DataFrame | Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    at: str,
    keys: tuple[str, ...],
) -> dict[str, list[float]]:
    """Each feature at each label by a loop over all events, in Python's exact whole numbers."""
    tile_us = parse_duration_s(view.tile) * 1_000_000
    tables = sources if isinstance(sources, Mapping) else {view.source_names[0]: sources}
    events = [event for name in view.source_names for event in known_events(view, name, tables[name], tile_us)]
    found: dict[str, list[float]] = {feature.name: [] for feature in view.features}
    for label in labels.to_dict("records"):
        key, at_us = tuple(label[name] for name in keys), epoch_us(label[at])
        now = at_us // tile_us
        mine = [e for e in events if e["_key"] == key and e["_tile"] < now and e["_available_us"] <= at_us]
        ttl = parse_duration_s(view.ttl) * 1_000_000 // tile_us if view.ttl else None
        alive = ttl is None or any(now - ttl <= event["_tile"] for event in mine)
        for feature in view.features:
            window = feature.window_s * 1_000_000 // tile_us
            value = aggregate(feature, [e for e in mine if now - window <= e["_tile"]]) if alive else math.nan
            missing = math.isnan(value) and feature.default is not None
            found[feature.name].append(feature.default if missing else value)
    return found


def known_events(view: FeatureView, name: str, table: pd.DataFrame, tile_us: int) -> list[dict]:
    """A source's events that are not refused, first arrivals first, by the view's column names."""
    source, accepted, seen = view.find_source(name), [], set()
    for row in table.to_dict("records"):
        key = tuple(row[column] for column in source.keys)
        times = [row[column] for column in (source.event_time, source.available_at) if column]
        if any(pd.isna(part) for part in (*key, *times)):
            continue
        event_us = epoch_us(times[0])
        available_us = epoch_us(times[1]) if source.available_at else event_us + source.delay_us
        if not event_us <= available_us <= event_us + parse_duration_s(view.lateness) * 1_000_000:
            continue
        named = {column: row[source.column(column)] for column in view.columns}
        ours = {"_key": key, "_tile": event_us // tile_us, "_event_us": event_us, "_available_us": available_us}
        accepted.append((row[source.event_id] if source.event_id else None, named | ours))
    found = []
    for identity, event in sorted(accepted, key=lambda pair: pair[1]["_available_us"]):
        same = (identity, event["_key"], event["_tile"])
        if identity is None or same not in seen:
            found.append(event)
        seen.add(same)
    return found


def epoch_us(moment) -> int:
    return moment if isinstance(moment, int) else (moment - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(1, "us")


def holds(where: str, event: dict) -> bool:
    for part in parse_where(where):
        value = event[part.column]
        if pd.isna(value):
            return False
        if part.operator == "in":
            if value not in part.constants:
                return False
        elif not COMPARE[part.operator](value, part.constants[0]):
            return False
    return True


def aggregate(feature, events: list[dict]) -> float:
    mine = [event for event in events if holds(feature.where, event)]
    if feature.aggregate == "count":
        return float(len(mine))
    known = [event for event in mine if not pd.isna(event[feature.column])]
    steps = [round(event[feature.column] * feature.scale) for event in known]
    if feature.aggregate == "sum":
        return sum(steps) / feature.scale
    if feature.aggregate == "distinct":
        return float(len(set(steps))) if len(set(steps)) <= feature.cap else math.nan
    if not steps:
        return math.nan
    if feature.aggregate == "mean":
        return sum(steps) / (len(steps) * feature.scale)
    if feature.aggregate == "last":
        latest = max((event["_event_us"], step) for event, step in zip(known, steps, strict=True))
        return latest[1] / feature.scale
    if feature.aggregate == "stddev":
        n = len(steps)
        squares = float(n * sum(step * step for step in steps) - sum(steps) ** 2)
        return math.sqrt(squares / float(n * n)) / feature.scale
    return {"min": min, "max": max}[feature.aggregate](steps) / feature.scale


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return brute_force


@pytest.fixture(scope="session")
def start_redis() -> Iterator[Callable[..., Any]]:
    """A function that starts a Redis server in a folder, with options (redis_server.py); all end with the tests."""
    spec = importlib.util.spec_from_file_location("redis_server", Path(__file__).with_name("redis_server.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    servers: list[Any] = []

    def start(folder: Path, *options: str) -> Any:
        servers.append(module.RedisServer(folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def trips() -> pd.DataFrame:
    """Nine days of 4,000 trips between 12 zones, sorted by pickup, none of them real."""
    rng = np.random.default_rng(11)
    n = 4000
    pickup = pd.Timestamp("2024-03-05", tz="UTC") + pd.to_timedelta(np.sort(rng.integers(0, 9 * 86400, n)), unit="s")
    duration_s = rng.integers(60, 5400, n)
    return pd.DataFrame(
        {
            "trip_id": np.arange(n),
            "pickup_at": pickup.as_unit("us"),
            "dropoff_at": (pickup + pd.to_timedelta(duration_s, unit="s")).as_unit("us"),
            "pu_zone": rng.integers(1, 13, n).astype(np.int32),
            "do_zone": rng.integers(1, 13, n).astype(np.int32),
            "duration_min": duration_s / 60,
            "speed_kmh": rng.gamma(9, 2.5, n),
        }
    )
