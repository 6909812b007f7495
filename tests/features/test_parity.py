"""Offline equals online, value by value: on invented trips and on New York's."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.features import Entity, FeatureView, count, distinct, last, max, mean, min, stddev, sum
from bottega.features.online import OnlineStore
from bottega.features.parity import Mismatch, Parity, parity, store_parity

ZONE = Entity("zone", keys=("zone",), dtype="int32")


def traffic(**options) -> FeatureView:
    features = [mean("speed_kmh").over("15m", "1h", "24h"), count().over("15m", "1h", "7d")]
    return FeatureView("zone_traffic", ZONE, "trips", "dropoff_at", features, keys=("do_zone",), **options)


@pytest.mark.parametrize("ttl", [None, "2h"])
def test_no_value_differs_on_invented_trips(trips, ttl):
    found = parity(traffic(ttl=ttl), {"trips": trips}, trips, at="pickup_at", keys=["pu_zone"])
    assert found == Parity(values=2 * 6 * len(trips), mismatches=0)


def test_no_value_differs_for_pairs_with_least_and_greatest(trips):
    features = [sum("duration_min").over("24h"), min("speed_kmh").over("7d"), max("speed_kmh").over("8d", "1h")]
    view = FeatureView("pairs", Entity("pair", ("pu_zone", "do_zone")), "trips", "dropoff_at", features)
    gaps = trips.assign(speed_kmh=trips["speed_kmh"].mask(trips.index % 3 == 0))
    assert parity(view, {"trips": gaps}, trips, at="pickup_at").mismatches == 0


def test_a_difference_is_counted_and_the_first_one_shown(trips, tmp_path):
    view = traffic()
    store = OnlineStore(tmp_path)
    store.ingest(view, trips.drop(index=trips.index[100]))
    found = store_parity(view, {"trips": trips}, store, trips, at="pickup_at", keys=["do_zone"])
    assert found.mismatches > 0
    first = found.first_mismatch
    assert isinstance(first, Mismatch)
    assert first.feature == "speed_kmh_mean_15m"
    assert trips["do_zone"].iloc[first.row] == trips["do_zone"].iloc[100]
    assert first.offline != first.online


EVERY = [
    count().over("15m", "7d"),
    mean("speed_kmh").over("1h", "24h"),
    sum("duration_min").over("24h"),
    min("speed_kmh").over("7d"),
    max("speed_kmh", default=0.0).over("1h"),
    last("speed_kmh").over("24h"),
    stddev("duration_min").over("24h"),
    distinct("do_zone", cap=8).over("1h", "24h"),
    count(where="duration_min > 30", name="long").over("24h"),
]


def test_no_value_differs_with_late_copied_and_disordered_events(trips, tmp_path):
    view = FeatureView(
        "v",
        ZONE,
        "trips",
        "pickup_at",
        EVERY,
        keys=("pu_zone",),
        available_at="dropoff_at",
        event_id="trip_id",
        lateness="1h",
    )
    copied = pd.concat([trips, trips.sample(300, random_state=3)]).sample(frac=1, random_state=4)
    labels = trips.sample(500, random_state=5)
    found = parity(view, {"trips": copied}, labels, at="pickup_at", keys=["pu_zone"])
    assert found == Parity(values=2 * len(view.features) * 500, mismatches=0)


@pytest.mark.slow
def test_no_value_of_a_million_differs_on_simulated_trips():
    rng, n = np.random.default_rng(6), 60_000
    t = pd.Timestamp("2024-03-01", tz="UTC") + pd.to_timedelta(np.sort(rng.integers(0, 20 * 86400, n)), unit="s")
    delay_s = np.where(rng.random(n) < 0.03, rng.integers(0, 3700, n), rng.integers(0, 20, n))
    events = pd.DataFrame(
        {
            "trip_id": np.arange(n),
            "pickup_at": t.as_unit("us"),
            "dropoff_at": (t + pd.to_timedelta(delay_s, unit="s")).as_unit("us"),
            "pu_zone": np.minimum(rng.zipf(1.3, n), 260),
            "do_zone": rng.integers(1, 260, n),
            "speed_kmh": rng.gamma(9, 2.5, n),
            "duration_min": rng.gamma(3, 5, n),
        }
    )
    copied = pd.concat([events, events.sample(frac=0.02, random_state=7)], ignore_index=True)
    view = FeatureView(
        "v", ZONE, "trips", "pickup_at", EVERY, keys=("pu_zone",), available_at="dropoff_at", event_id="trip_id"
    )
    moments = t[0] + pd.to_timedelta(np.sort(rng.integers(0, 21 * 86400, 45_000)), unit="s")
    labels = pd.DataFrame({"pu_zone": np.minimum(rng.zipf(1.3, 45_000), 262), "requested_at": moments.as_unit("us")})
    found = parity(view, {"trips": copied}, labels, keys=["pu_zone"])
    assert (found.mismatches, found.first_mismatch) == (0, None)
    assert found.values > 1_000_000


@pytest.mark.slow
@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder of real trips")
def test_no_value_differs_on_real_trips():
    folder = Path(os.environ["BOTTEGA_DATA"]) / "tlc_green_trips"
    months = [pd.read_parquet(folder / f"green_2023-0{month}.parquet") for month in (1, 2)]
    trips = pd.concat(months, ignore_index=True)[["pickup_at", "dropoff_at", "pu_zone", "do_zone", "distance_mi"]]
    for name in ("pickup_at", "dropoff_at"):
        local = trips[name].dt.as_unit("us").dt.tz_localize("America/New_York", ambiguous="NaT", nonexistent="NaT")
        trips[name] = local.dt.tz_convert("UTC")
    hours = (trips["dropoff_at"] - trips["pickup_at"]).dt.total_seconds() / 3600
    trips["speed_kmh"] = (trips["distance_mi"] * 1.609344 / hours).where(hours > 1 / 60)
    assert len(trips) > 130_000
    assert trips["speed_kmh"].isna().any()
    values = 0
    for key in ("pu_zone", "do_zone"):
        found = parity(traffic(), {"trips": trips}, trips, at="pickup_at", keys=[key])
        assert (found.mismatches, found.first_mismatch) == (0, None)
        values += found.values
    pairs = FeatureView(
        "pair_speed",
        Entity("pair", ("pu_zone", "do_zone"), "int32"),
        "trips",
        "dropoff_at",
        [mean("speed_kmh").over("7d"), max("speed_kmh").over("24h"), count().over("7d")],
    )
    found = parity(pairs, {"trips": trips}, trips, at="pickup_at")
    assert found.mismatches == 0
    assert values + found.values >= 1_000_000
    assert np.isfinite(trips["speed_kmh"].max())
