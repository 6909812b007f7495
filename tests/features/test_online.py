"""The online store: exactly-once ingestion, reads on the request's clock, one writer beside readers."""

import math
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.errors import Conflict, InvalidInput, NotFound, StorageError
from bottega.features import Entity, FeatureView, count, max, mean, min, sum
from bottega.features.online import OnlineStore

ZONE = Entity("zone", keys=("zone",), dtype="int32")
TRAFFIC = FeatureView(
    "zone_traffic",
    ZONE,
    "trips",
    "dropoff_at",
    [mean("speed_kmh").over("15m", "24h"), count().over("1h", "7d"), max("speed_kmh").over("24h")],
    keys=("do_zone",),
)


def us(moments: pd.Series) -> np.ndarray:
    return moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)


def answers(store: OnlineStore, labels: pd.DataFrame, view: FeatureView = TRAFFIC, keys=("do_zone",)) -> np.ndarray:
    found = store.read(view.name, tuple(labels[k].to_numpy() for k in keys), us(labels["pickup_at"]))
    return np.array([found[f.name] for f in view.features])


@pytest.fixture
def store(tmp_path) -> OnlineStore:
    return OnlineStore(tmp_path / "online")


@pytest.mark.parametrize("keys", [("pu_zone",), ("pu_zone", "do_zone"), ()])
def test_values_are_those_of_a_loop_over_all_events(oracle, store, trips, keys):
    features = [mean("speed_kmh").over("1h", "7d"), count().over("15m", "24h"), sum("duration_min").over("1h")]
    features += [min("speed_kmh").over("1h", "7d"), max("duration_min").over("2h")]
    view = FeatureView("v", Entity("e", keys), "trips", "dropoff_at", features, ttl="6h")
    store.ingest(view, trips)
    labels = trips.sample(60, random_state=4)
    expected = oracle(view, trips, labels, "pickup_at", keys)
    np.testing.assert_array_equal(answers(store, labels, view, keys), list(expected.values()))


def test_a_batch_and_single_rows_agree(store, trips):
    store.ingest(TRAFFIC, trips)
    labels = trips.sample(100, random_state=5)
    rows = [answers(store, labels.iloc[[i]]) for i in range(len(labels))]
    np.testing.assert_array_equal(answers(store, labels), np.concatenate(rows, axis=1))


def test_any_split_into_batches_in_any_order_of_time_gives_the_same_values(store, trips, tmp_path):
    store.ingest(TRAFFIC, trips)
    shuffled = trips.sample(frac=1, random_state=6)
    other = OnlineStore(tmp_path / "other")
    for begin in range(0, len(shuffled), 333):
        other.ingest(TRAFFIC, shuffled.iloc[begin : begin + 333])
    np.testing.assert_array_equal(answers(other, trips), answers(store, trips))


def test_values_slide_on_the_requests_clock_when_no_event_comes(store, trips):
    store.ingest(TRAFFIC, trips)
    last = us(trips["dropoff_at"]).max()
    hours = np.array([1, 26, 8 * 24])
    found = store.read("zone_traffic", (np.array([3, 3, 3], np.int32),), last + hours * 3_600_000_000)
    assert found["count_7d"][0] > found["count_7d"][1] > found["count_7d"][2] == 0.0
    assert found["count_1h"].tolist()[1:] == [0.0, 0.0]
    assert found["speed_kmh_mean_24h"][0] > 0
    assert np.isnan(found["speed_kmh_mean_24h"][1:]).all()


def test_an_unknown_entity_and_a_null_key_have_no_events(store, trips):
    store.ingest(TRAFFIC, trips)
    at = np.full(3, us(trips["dropoff_at"]).max())
    found = store.read("zone_traffic", (np.array([999.0, np.nan, 3.0]),), at)
    assert found["count_7d"][:2].tolist() == [0.0, 0.0]
    assert np.isnan(found["speed_kmh_mean_24h"][:2]).all()
    assert found["count_7d"][2] > 0


def test_moments_far_away_are_answered(store, trips):
    store.ingest(TRAFFIC, trips)
    at = np.array([-(2**62), 0, 2**62])
    assert store.read("zone_traffic", (np.array([3, 3, 3]),), at)["count_7d"].tolist() == [0.0, 0.0, 0.0]


def test_before_the_first_write_every_value_is_null(store, tmp_path):
    found = store.read("zone_traffic", (np.array([1, 2]),), np.array([0, 0]))
    assert np.isnan(found["anything"]).tolist() == [True, True]
    assert store.offset("zone_traffic") == 0
    assert store.definitions() == ()
    assert not (tmp_path / "online").exists()


def test_a_store_knows_its_views_and_names_what_it_lacks(store, trips):
    store.ingest(TRAFFIC, trips.head(10))
    assert store.definitions() == (TRAFFIC.definition,)
    found = store.read("zone_traffic", (np.array([1]),), np.array([0]))
    with pytest.raises(NotFound, match=r"without 'fare'. It has: speed_kmh_mean_15m, .* Materialise the view again"):
        found["fare"]
    with pytest.raises(InvalidInput, match=r"was given 2 key columns\. Its keys are zone"):
        store.read("zone_traffic", (np.array([1]), np.array([1])), np.array([0]))
    for key, wrong in ((np.array(["1"]), "<U1"), (np.array([1.5]), "fractional"), (np.array([True]), "bool")):
        with pytest.raises(InvalidInput, match=f"The key 'zone' of view 'zone_traffic' is {wrong}; give whole numbers"):
            store.read("zone_traffic", (key,), np.array([0]))


def test_a_replay_with_offsets_adds_nothing(store, trips):
    assert store.ingest(TRAFFIC, trips.iloc[:1000], offset=0) == 1000
    assert store.ingest(TRAFFIC, trips.iloc[500:1500], offset=500) == 500
    assert store.ingest(TRAFFIC, trips.iloc[:1000], offset=0) == 0
    assert store.ingest(TRAFFIC, trips.iloc[1500:]) == 2500
    assert store.offset("zone_traffic") == 4000
    with pytest.raises(
        Conflict, match=r"has rows up to position 4000, the batch begins at 4001. Ingest the rows from 4000"
    ):
        store.ingest(TRAFFIC, trips, offset=4001)
    with tempfile.TemporaryDirectory() as folder:
        once = OnlineStore(Path(folder))
        once.ingest(TRAFFIC, trips)
        np.testing.assert_array_equal(answers(store, trips), answers(once, trips))


def test_windows_may_be_added_but_tiles_may_not_change(store, trips):
    store.ingest(TRAFFIC, trips)
    wider = FeatureView(
        "zone_traffic", ZONE, "trips", "dropoff_at", [*TRAFFIC.features, count().over("2h")], keys=("do_zone",)
    )
    store.ingest(wider, trips.head(0))
    assert answers(store, trips, wider)[-1].max() > 0
    for options in ({"tile": "15m"}, {"features": [count().over("1h")]}):
        other = FeatureView(
            **{
                "name": "zone_traffic",
                "entity": ZONE,
                "source": "trips",
                "event_time": "dropoff_at",
                "features": TRAFFIC.features,
                "keys": ("do_zone",),
            }
            | options
        )
        with pytest.raises(Conflict, match=r"another tile, key or aggregation. Drop it"):
            store.ingest(other, trips)
    store.drop("zone_traffic")
    assert store.definitions() == ()
    assert store.offset("zone_traffic") == 0
    assert store.ingest(other, trips) == len(trips)


def test_views_do_not_touch_each_other(store, trips):
    other = FeatureView("other", ZONE, "trips", "pickup_at", [count().over("1h")], keys=("pu_zone",))
    store.ingest(TRAFFIC, trips)
    store.ingest(other, trips)
    before = answers(store, trips)
    store.drop("other")
    np.testing.assert_array_equal(answers(store, trips), before)


def test_text_keys_are_bounded(store, trips):
    view = FeatureView("v", Entity("car", ("plate",), "string"), "trips", "pickup_at", [count().over("1h")])
    cars = trips.head(3).assign(plate=["AB", "ABC", "AB"])
    store.ingest(view, cars)
    at = np.full(4, us(cars["pickup_at"]).max() + 600_000_000)
    found = store.read("v", (np.array(["AB", "ABC", "A", None], object),), at)
    assert found["count_1h"].tolist() == [2.0, 1.0, 0.0, 0.0]
    for plate in ("x" * 500, "a\0b"):
        with pytest.raises(InvalidInput, match="too long or holds a zero"):
            store.ingest(view, cars.assign(plate=plate))
    assert store.offset("v") == 3


def test_two_stores_on_one_path_share_the_environment(store, trips, tmp_path):
    again = OnlineStore(str(tmp_path / "online"))
    store.ingest(TRAFFIC, trips)
    np.testing.assert_array_equal(answers(again, trips), answers(store, trips))


READER = """
    import sys
    import numpy as np
    from bottega.features.online import OnlineStore

    store = OnlineStore(sys.argv[1])
    for line in sys.stdin:
        zone, at_us = map(int, line.split())
        found = store.read("zone_traffic", (np.array([zone]),), np.array([at_us]))
        heavy = sorted({"pandas", "duckdb", "ibis", "pyarrow", "torch"} & sys.modules.keys())
        print(found["count_7d"][0], *heavy, flush=True)
"""


def test_a_reading_process_follows_the_writer_as_the_map_grows(trips, tmp_path, monkeypatch):
    """The reader is there before the store is, and loads none of the heavy libraries."""
    monkeypatch.setattr("bottega.features.environment.FIRST_BYTES", 1 << 16)
    store = OnlineStore(tmp_path / "online")
    at_us = us(trips["dropoff_at"]).max() + 600_000_000
    command = [sys.executable, "-c", textwrap.dedent(READER), str(tmp_path / "online")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:

        def ask() -> str:
            reader.stdin.write(f"3 {at_us}\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        assert ask() == "nan"
        seen = []
        for begin in range(0, len(trips), 1000):
            store.ingest(TRAFFIC, trips.iloc[begin : begin + 1000], offset=begin)
            expected = store.read("zone_traffic", (np.array([3]),), np.array([at_us]))["count_7d"][0]
            assert ask() == str(expected)
            seen.append(expected)
        assert seen == sorted(seen)
        assert seen[-1] > 100
        reader.stdin.close()
        assert reader.wait(20) == 0
    assert (tmp_path / "online" / "data.mdb").stat().st_size > 1 << 17


WRITER = """
    import sys
    import pandas as pd
    from bottega.features.online import OnlineStore
    from test_online import TRAFFIC

    trips = pd.read_parquet(sys.argv[2])
    store = OnlineStore(sys.argv[1])
    while (begin := store.offset("zone_traffic")) < len(trips):
        store.ingest(TRAFFIC, trips.iloc[begin : begin + 7], offset=begin)
        print(begin, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_and_counts_nothing_twice(trips, tmp_path):
    trips.to_parquet(tmp_path / "trips.parquet")
    source = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + textwrap.dedent(WRITER)
    command = [sys.executable, "-c", source, str(tmp_path / "online"), str(tmp_path / "trips.parquet")]
    rng = np.random.default_rng(9)
    killed = offset = 0
    while offset < len(trips):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(rng.integers(1, 120)):  # batches of 572, then a moment within the next ones
                writer.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.02)))
            killed += writer.poll() is None
            writer.kill()
        offset = OnlineStore(tmp_path / "online").offset("zone_traffic")
    assert killed >= 3
    whole = OnlineStore(tmp_path / "whole")
    whole.ingest(TRAFFIC, trips)
    np.testing.assert_array_equal(answers(OnlineStore(tmp_path / "online"), trips), answers(whole, trips))


def test_a_damaged_store_says_so(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match=r"cannot be opened: .*Remove the folder and materialise again"):
        OnlineStore(tmp_path).read("v", (np.array([1]),), np.array([0]))


def test_a_count_of_zero_is_not_a_missing_count(store, trips):
    store.ingest(TRAFFIC, trips)
    found = store.read("zone_traffic", (np.array([3]),), np.array([0]))
    assert found["count_1h"][0] == 0.0
    assert math.isnan(found["speed_kmh_max_24h"][0])
