"""Over a million values against an oracle in numpy that looks at each label's events one label at a time."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.trips import load_trips
from bottega.features import Entity, FeatureView, count, distinct, last, max, mean, min, stddev, sum
from bottega.features.offline import TrainingSet
from bottega.settings import Settings
from bottega.workspace import Workspace

TILE_US = 300_000_000
WINDOWS = {"5m": 1, "15m": 3, "1h": 12, "24h": 288, "7d": 2016}


def make_view(keys: tuple[str, ...], cap: int) -> FeatureView:
    return FeatureView(
        "v",
        Entity("e", keys),
        "trips",
        "pickup_at",
        [
            count().over(*WINDOWS),
            sum("fare_usd", scale=100).over("15m", "24h"),
            mean("fare_usd", scale=100).over(*WINDOWS),
            min("fare_usd", scale=100).over("5m", "24h", "7d"),
            max("fare_usd", scale=100).over("15m", "1h", "7d"),
            last("fare_usd", scale=100).over("15m", "24h"),
            stddev("fare_usd", scale=100).over("1h", "24h"),
            distinct("do_zone", cap=cap).over("15m", "1h", "24h"),
        ],
        available_at="known_at",
        event_id="trip_id",
    )


def invented(trips: int, seed: int) -> pd.DataFrame:
    """Trips of 40 zones, most of them known only when they end, with nulls, ties, copies, and rows out of order."""
    rng = np.random.default_rng(seed)
    pickup_s = 1_710_000_000 + rng.integers(0, 9 * 1440, trips) * 60  # whole minutes: many at the same time
    known_s = pickup_s + rng.choice([0, 0, 60, 400, 900, 2_000, 3_600, 3_700], trips)
    table = pd.DataFrame(
        {
            "trip_id": np.arange(trips),
            "pickup_at": pd.to_datetime(pickup_s, unit="s", utc=True),
            "known_at": pd.to_datetime(known_s, unit="s", utc=True),
            "pu_zone": rng.zipf(1.3, trips) % 40,
            "do_zone": rng.integers(0, 40, trips),
            "fare_usd": np.where(rng.random(trips) < 0.05, np.nan, np.round(rng.gamma(3, 6, trips), 2)),
        }
    )
    copies = table.sample(frac=0.05, random_state=seed)
    copies["known_at"] += pd.to_timedelta(rng.choice([0, 120], len(copies)), unit="s")
    return pd.concat([table, copies]).sample(frac=1, random_state=seed, ignore_index=True)


def epoch_us(column: pd.Series) -> np.ndarray:
    return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)


def by_label(view: FeatureView, trips: pd.DataFrame, labels: pd.DataFrame, key: str) -> dict[str, np.ndarray]:
    """Each feature at each label, from the definition: tile within the window, arrival not after the moment."""
    table = trips.assign(t=epoch_us(trips["pickup_at"]), a=epoch_us(trips["known_at"]))
    table = table[(table["a"] >= table["t"]) & (table["a"] <= table["t"] + 3_600_000_000)]
    table["tile"] = table["t"] // TILE_US
    table = table.sort_values("a", kind="stable").drop_duplicates(["trip_id", key, "tile"])
    cents = np.rint(table["fare_usd"] * 100)
    table = table.assign(cents=cents.fillna(0).astype(np.int64), known=cents.notna())
    groups = {zone: rows.sort_values(["t", "cents"]) for zone, rows in table.groupby(key)}
    columns = {
        zone: {name: rows[name].to_numpy() for name in ("t", "a", "tile", "cents", "known", "do_zone")}
        for zone, rows in groups.items()
    }
    found = {feature.name: np.full(len(labels), np.nan) for feature in view.features}
    spans = {feature.name: feature.window_s * 1_000_000 // TILE_US for feature in view.features}
    nothing = {name: np.empty(0, np.int64) for name in ("t", "a", "tile", "cents", "do_zone")} | {
        "known": np.empty(0, bool)
    }
    for row, (zone, at_us) in enumerate(zip(labels[key], epoch_us(labels["pickup_at"]), strict=True)):
        mine, now = columns.get(zone, nothing), at_us // TILE_US
        end = np.searchsorted(mine["tile"], now)
        for span in set(spans.values()):
            window = slice(np.searchsorted(mine["tile"], now - span), end)
            seen = mine["a"][window] <= at_us
            answers = aggregates(mine, window, seen)
            for feature in view.features:
                if spans[feature.name] == span:
                    value = answers[feature.aggregate]
                    found[feature.name][row] = math.nan if feature.cap and value > feature.cap else value
    return found


def aggregates(mine: dict[str, np.ndarray], window: slice, seen: np.ndarray) -> dict[str, float]:
    cents = mine["cents"][window][seen & mine["known"][window]]
    n, total = len(cents), int(cents.sum())
    squares = float(n * int((cents * cents).sum()) - total * total)
    return {
        "count": float(seen.sum()),
        "sum": total / 100,
        "mean": total / (n * 100) if n else math.nan,
        "min": cents.min() / 100 if n else math.nan,
        "max": cents.max() / 100 if n else math.nan,
        "last": cents[-1] / 100 if n else math.nan,
        "stddev": math.sqrt(squares / float(n * n)) / 100 if n else math.nan,
        "distinct": float(len(np.unique(mine["do_zone"][window][seen]))),
    }


def compare(trips: pd.DataFrame, labels: pd.DataFrame, cap: int, **options) -> int:
    """How many values were compared; all are equal."""
    view = make_view(("pu_zone",), cap)
    found = TrainingSet(labels, [f"v:{f.name}" for f in view.features], "pickup_at").compute(
        [view], {"trips": trips}, **options
    )
    expected = by_label(view, trips, labels, "pu_zone")
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name].to_numpy(), column, err_msg=name)
    return len(labels) * len(expected)


def test_invented_trips_have_the_values_of_the_definition():
    trips = invented(20_000, seed=1)
    assert compare(trips, trips.sample(2_000, random_state=2), cap=12) == 50_000


@pytest.mark.slow
def test_a_million_values_of_invented_trips():
    trips = invented(200_000, seed=3)
    assert compare(trips, trips.sample(42_000, random_state=4), cap=25) > 1_000_000


@pytest.mark.slow
def test_a_million_values_of_real_trips(tmp_path):
    folder = os.environ.get("BOTTEGA_DATA")
    if not folder:
        pytest.skip("needs real trips: set BOTTEGA_DATA")
    file = Path(folder) / "tlc_green_trips" / "green_2023-01.parquet"
    trips = load_trips(file, Workspace.open(tmp_path / "w"), Settings()).table
    trips = trips.assign(known_at=trips["dropoff_at"])
    assert compare(trips, trips.sample(42_000, random_state=4), cap=25) > 1_000_000
