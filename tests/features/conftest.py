"""Shared by the feature tests: a brute-force oracle, and trips of an invented city."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bottega.features import FeatureView
from bottega.times import parse_duration_s

Oracle = Callable[..., dict[str, list[float]]]


def brute_force(view: FeatureView, events: pd.DataFrame, labels: pd.DataFrame, at: str, keys: tuple[str, ...]):
    """Each feature at each label by a loop over all events, in Python's exact whole numbers."""
    tile_us = parse_duration_s(view.tile) * 1_000_000
    found: dict[str, list[float]] = {feature.name: [] for feature in view.features}
    rows = [_event(view, event, tile_us) for event in events.to_dict("records")]
    for label in labels.to_dict("records"):
        mine = [row for row in rows if row and row[0] == tuple(label[key] for key in keys)]
        now = _us(label[at]) // tile_us
        ttl = parse_duration_s(view.ttl) * 1_000_000 // tile_us if view.ttl else None
        alive = ttl is None or any(now - ttl <= tile <= now - 1 for _, tile, _ in mine)
        for feature in view.features:
            window = feature.window_s * 1_000_000 // tile_us
            inside = [event for _, tile, event in mine if now - window <= tile <= now - 1]
            found[feature.name].append(_aggregate(feature, inside) if alive else math.nan)
    return found


def _event(view: FeatureView, event: dict, tile_us: int):
    key = tuple(event[name] for name in view.keys)
    times = [event[name] for name in (view.event_time, view.available_at) if name]
    if any(pd.isna(part) for part in (*key, *times)):
        return None
    return key, max(_us(time) for time in times) // tile_us, event


def _us(moment) -> int:
    return moment if isinstance(moment, int) else (moment - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(1, "us")


def _aggregate(feature, events: list[dict]) -> float:
    if feature.aggregate == "count":
        return float(len(events))
    steps = [round(e[feature.column] * feature.scale) for e in events if not pd.isna(e[feature.column])]
    if feature.aggregate == "sum":
        return sum(steps) / feature.scale
    if not steps:
        return math.nan
    if feature.aggregate == "mean":
        return sum(steps) / (len(steps) * feature.scale)
    return {"min": min, "max": max}[feature.aggregate](steps) / feature.scale


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return brute_force


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
