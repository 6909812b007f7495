"""Offline equals online, value by value: on invented trips and on New York's."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.features import Entity, FeatureView, count, max, mean, min, sum
from bottega.features.online import OnlineStore
from bottega.features.parity import Mismatch, parity

ZONE = Entity("zone", keys=("zone",), dtype="int32")


def traffic(**options) -> FeatureView:
    features = [mean("speed_kmh").over("15m", "1h", "24h"), count().over("15m", "1h", "7d")]
    return FeatureView("zone_traffic", ZONE, "trips", "dropoff_at", features, keys=("do_zone",), **options)


@pytest.mark.parametrize("ttl", [None, "2h"])
def test_no_value_differs_on_invented_trips(trips, ttl):
    found = parity(traffic(ttl=ttl), trips, trips, at="pickup_at", keys=["pu_zone"])
    assert found == (type(found))(values=6 * len(trips), mismatches=0)


def test_no_value_differs_for_pairs_with_least_and_greatest(trips):
    features = [sum("duration_min").over("24h"), min("speed_kmh").over("7d"), max("speed_kmh").over("8d", "1h")]
    view = FeatureView("pairs", Entity("pair", ("pu_zone", "do_zone")), "trips", "dropoff_at", features)
    gaps = trips.assign(speed_kmh=trips["speed_kmh"].mask(trips.index % 3 == 0))
    assert parity(view, gaps, trips, at="pickup_at").mismatches == 0


def test_a_difference_is_counted_and_the_first_one_shown(trips, tmp_path):
    view = traffic()
    store = OnlineStore(tmp_path)
    store.ingest(view, trips.drop(index=trips.index[100]))
    found = parity(view, trips, trips, at="pickup_at", keys=["do_zone"], store=store)
    assert found.mismatches > 0
    first = found.first_mismatch
    assert isinstance(first, Mismatch)
    assert first.feature == "speed_kmh_mean_15m"
    assert trips["do_zone"].iloc[first.row] == trips["do_zone"].iloc[100]
    assert first.offline != first.online


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
        found = parity(traffic(), trips, trips, at="pickup_at", keys=[key])
        assert (found.mismatches, found.first_mismatch) == (0, None)
        values += found.values
    pairs = FeatureView(
        "pair_speed",
        Entity("pair", ("pu_zone", "do_zone"), "int32"),
        "trips",
        "dropoff_at",
        [mean("speed_kmh").over("7d"), max("speed_kmh").over("24h"), count().over("7d")],
    )
    found = parity(pairs, trips, trips, at="pickup_at")
    assert found.mismatches == 0
    assert values + found.values >= 1_000_000
    assert np.isfinite(trips["speed_kmh"].max())
