"""The online store against a loop over all events, whatever was ingested when."""

import builtins
import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import Conflict, InvalidInput, NotFound
from bottega.features import (
    Entity,
    FeatureView,
    Source,
    count,
    distinct,
    kernel,
    last,
    max,
    mean,
    min,
    records,
    stddev,
    sum,
)
from bottega.features.online import OnlineStore
from bottega.times import to_epoch_us

START_US = 1_710_000_000 // 300 * 300 * 1_000_000
TILE_US = 300_000_000
ZONE = Entity("zone", keys=("zone",))
EVERY = [
    count().over("5m", "15m", "1h"),
    mean("x").over("5m", "1h"),
    sum("x").over("15m"),
    min("x").over("15m", "1h"),
    max("x", default=-7.5).over("1h"),
    last("x").over("5m", "1h"),
    stddev("x").over("15m", "1h"),
    distinct("x", cap=3).over("5m", "1h"),
    count(where="x > 0", name="positive").over("1h"),
    mean("x", where="kind in ('a', 'b')", name="x_of_ab").over("1h"),
    last("x", where="kind == 'a'", name="x_last_a").over("1h"),
]


def every(**options) -> FeatureView:
    given = {"source": "events", "event_time": "t", "available_at": "seen", "lateness": "30m"} | options
    return FeatureView("v", given.pop("entity", ZONE), features=EVERY, **given)


# Moments on tile edges, one microsecond beside them, and anywhere; arrivals before, at and long after them.
moments = st.builds(
    lambda tile, offset_us: START_US + tile * TILE_US + offset_us,
    st.integers(0, 14),
    st.sampled_from([0, 0, 1, -1, 150_000_000, 299_999_999]),
)
delays = st.sampled_from([0, 0, 0, 1, 200_000_000, 300_000_000, 900_000_000, 1_800_000_000, 1_800_000_001, -1])
zones = st.sampled_from([1, 1, 2, None])
values = st.one_of(st.none(), st.floats(-1000, 1000, width=32), st.integers(-3, 3).map(float))
rows = st.tuples(zones, moments, delays, values, st.sampled_from(["a", "b", "c", None]), st.integers(0, 6))


def table(events: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(zone, t, t + delay, x, kind, number) for zone, t, delay, x, kind, number in events],
        columns=["zone", "t", "seen", "x", "kind", "id"],
    )
    frame = frame.astype({"zone": "Int64", "x": "float64", "id": "int64", "kind": "str"})
    for name in ("t", "seen"):
        frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="us", utc=True)
    return frame


def read(store: OnlineStore, view: FeatureView, labels: pd.DataFrame) -> dict[str, list[float]]:
    zone = labels["zone"].to_numpy(np.float64, na_value=np.nan)
    found = store.read(view.name, (zone,), labels["at"].to_numpy(np.int64))
    return {feature.name: found[feature.name].tolist() for feature in view.features}


def assert_same(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], np.array(column, float), err_msg=name)


@pytest.mark.parametrize("options", [{}, {"ttl": "10m"}, {"event_id": "id"}])
@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(rows, max_size=25),
    labels=st.lists(st.tuples(st.sampled_from([1, 2]), moments), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 25), max_size=3),
    tail_bytes=st.sampled_from([0, 900, records.TAIL_BYTES, 10**6]),
)
def test_values_are_those_of_a_loop_over_all_events(
    oracle, tmp_path_factory, engine_pair, options, events, labels, cuts, tail_bytes
):
    view, frame = every(**options), table(sorted(events, key=lambda row: row[1] + row[2]))
    asked = pd.DataFrame(labels, columns=["zone", "at"])
    expected = oracle(view, frame, asked, "at", ("zone",))
    for load in engine_pair:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(kernel, "load", load)
            patched.setattr(records, "TAIL_BYTES", tail_bytes)
            store = OnlineStore(tmp_path_factory.mktemp("store"))
            edges = [0, *sorted(builtins.min(cut, len(frame)) for cut in cuts), len(frame)]
            for begin, end in itertools.pairwise(edges):
                store.ingest(view, frame.iloc[begin:end], offset=begin)
            assert_same(read(store, view, asked), expected)
            for zone, at in labels:  # one at a time goes another way
                one = pd.DataFrame([(zone, at)], columns=["zone", "at"])
                found = store.read("v", (np.array([zone]),), np.array([at]))
                assert_same({name: found[name].tolist() for name in found}, oracle(view, frame, one, "at", ("zone",)))


@pytest.fixture(scope="session")
def engine_pair():
    """The compiled kernel and the numpy that stands in for it."""
    compiled = kernel.load()
    assert compiled is not None
    return (lambda: compiled), (lambda: None)


@pytest.mark.parametrize("keys", [("pu_zone",), ("do_zone",), ("pu_zone", "do_zone"), ()])
@pytest.mark.parametrize("tile", ["5m", "1h"])
def test_every_kind_of_entity_agrees_with_the_loop(oracle, trips, tmp_path, keys, tile):
    features = [mean("speed_kmh").over("1h", "24h"), count().over("1h", "7d"), max("duration_min").over("2h")]
    view = FeatureView(
        "v", Entity("e", keys), "trips", "pickup_at", features, tile=tile, available_at="dropoff_at", lateness="2h"
    )
    labels = trips.sample(60, random_state=1)
    store = OnlineStore(tmp_path)
    store.ingest(view, trips)
    at_us = labels["pickup_at"].dt.tz_localize(None).to_numpy().view(np.int64)
    found = store.read("v", tuple(labels[key].to_numpy() for key in keys), at_us)
    assert_same({name: found[name] for name in found}, oracle(view, trips, labels, "pickup_at", keys))
    assert found["count_7d"].sum() > 0


def test_text_keys_and_text_ids(oracle, tmp_path):
    rng = np.random.default_rng(5)
    plates = np.array(["AB 1", "Zürich", "'; DROP TABLE trips; --", ""])
    frame = pd.DataFrame(
        {
            "plate": plates[rng.integers(0, 4, 300)],
            "t": pd.to_datetime(START_US + rng.integers(0, 7200, 300) * 1_000_000, unit="us", utc=True),
            "x": rng.normal(size=300),
            "kind": "a",
            "id": [f"event {n}" for n in rng.integers(0, 5, 300)],
        }
    ).sort_values("t", ignore_index=True)
    view = every(entity=Entity("car", ("plate",), "string"), available_at=None, event_id="id")
    store = OnlineStore(tmp_path)
    for begin in range(0, 300, 70):
        store.ingest(view, frame.iloc[begin : begin + 70])
    at_us = frame["t"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)
    found = store.read("v", (frame["plate"].to_numpy(object),), at_us)
    assert_same({name: found[name] for name in found}, oracle(view, frame, frame, "t", ("plate",)))
    assert store.refused("v")["duplicate"] > 50


def test_several_sources_count_together_each_with_its_own_offset(oracle, trips, tmp_path):
    renamed = trips.rename(columns={"pu_zone": "start", "dropoff_at": "ended", "speed_kmh": "speed"})
    view = FeatureView(
        "v",
        ZONE,
        sources=[
            Source("green", "dropoff_at", keys=("pu_zone",)),
            Source("yellow", "ended", delay="10m", keys=("start",), columns={"speed_kmh": "speed"}),
        ],
        features=[mean("speed_kmh").over("1h", "24h"), count().over("24h")],
    )
    sources = {"green": trips.iloc[::2], "yellow": renamed.iloc[1::2]}
    store = OnlineStore(tmp_path)
    for name, frame in sources.items():
        store.ingest(view, frame, name, offset=0)
    assert (store.offset("v", "green"), store.offset("v", "yellow")) == (2000, 2000)
    labels = trips.sample(60, random_state=3)
    at_us = labels["pickup_at"].dt.tz_localize(None).to_numpy().view(np.int64)
    found = store.read("v", (labels["pu_zone"].to_numpy(),), at_us)
    assert_same({name: found[name] for name in found}, oracle(view, sources, labels, "pickup_at", ("pu_zone",)))
    with pytest.raises(NotFound, match="no source 'blue'"):
        store.ingest(view, trips, "blue")


def test_what_is_refused_is_counted_and_the_sums_stay(tmp_path):
    view, store = every(event_id="id"), OnlineStore(tmp_path)
    events = [
        (1, START_US, 0, 1.0, "a", 1),
        (1, START_US, 5, 1.0, "a", 1),
        (None, START_US, 0, 1.0, "a", 2),
        (1, START_US, -1, 1.0, "a", 3),
        (1, START_US, 1_800_000_001, 1.0, "a", 4),
    ]
    found = store.ingest(view, table(events))
    reasons = {"duplicate": 1, "null key": 1, "from the future": 1, "beyond the watermark": 1}
    assert (found.rows, found.counted, found.refused) == (5, 1, reasons)
    again = store.ingest(view, table(events[:2]))
    assert (again.counted, again.refused) == (0, {"duplicate": 2})
    assert store.refused("v") == reasons | {"duplicate": 3}
    assert store.progress_us("v") == START_US


def test_a_replay_changes_nothing_and_a_gap_is_refused(trips, tmp_path):
    view, store = (
        FeatureView("v", ZONE, "trips", "dropoff_at", [count().over("7d")], keys=("pu_zone",)),
        OnlineStore(tmp_path),
    )
    assert store.ingest(view, trips.iloc[:100], offset=0).rows == 100
    assert store.ingest(view, trips.iloc[:100], offset=0).rows == 0
    assert store.ingest(view, trips.iloc[50:150], offset=50).rows == 50
    with pytest.raises(Conflict, match="up to position 150"):
        store.ingest(view, trips.iloc[200:], offset=200)
    assert store.ingest(view, trips.iloc[150:190], offset=150, end=200).rows == 40  # ten positions held no event
    assert store.ingest(view, trips.iloc[150:190], offset=150, end=200).rows == 0
    with pytest.raises(Conflict, match="the batch is 150 to 300"):
        store.ingest(view, trips.iloc[150:280], offset=150, end=300)
    at_us = np.array([to_epoch_us(trips["dropoff_at"].max().to_pydatetime())])
    total = np.sum([store.read("v", (np.array([zone]),), at_us)["count_7d"][0] for zone in range(1, 13)])
    late = trips["dropoff_at"].iloc[:190] >= trips["dropoff_at"].max().floor("5min") - pd.Timedelta("7D")
    assert total == late.sum()


def test_eight_silent_days_give_zeros_and_nulls_and_the_age_grows(trips, tmp_path):
    view = FeatureView(
        "v", ZONE, "trips", "dropoff_at", [count().over("1h", "7d"), mean("speed_kmh").over("7d")], keys=("pu_zone",)
    )
    store = OnlineStore(tmp_path)
    store.ingest(view, trips)
    last_us = to_epoch_us(trips.loc[trips["pu_zone"] == 4, "dropoff_at"].max().to_pydatetime())
    edge = (last_us // TILE_US + 1) * TILE_US
    found = store.read("v", (np.full(4, 4),), edge + np.array([0, 60_000_000, 86_400_000_000, 8 * 86_400_000_000]))
    assert found.age_s.tolist()[:3] == [0.0, 60.0, 86400.0]
    assert np.isnan(found.age_s[3])
    assert found["count_1h"][2] == found["count_7d"][3] == 0.0
    assert found["count_7d"][2] > 0
    assert np.isnan(found["speed_kmh_mean_7d"][3])


def test_trimming_changes_no_later_answer_and_shrinks_the_store(oracle, trips, tmp_path):
    view = FeatureView(
        "v",
        ZONE,
        "trips",
        "pickup_at",
        [count().over("24h"), max("speed_kmh").over("24h"), distinct("do_zone", cap=20).over("24h")],
        keys=("pu_zone",),
        available_at="dropoff_at",
        event_id="trip_id",
        lateness="2h",
    )
    store = OnlineStore(tmp_path)
    store.ingest(view, trips)
    labels = trips[trips["pickup_at"] >= trips["pickup_at"].iloc[2500]].sample(80, random_state=1)
    at_us = labels["pickup_at"].dt.tz_localize(None).to_numpy().view(np.int64)
    before = store.read("v", (labels["pu_zone"].to_numpy(),), at_us)
    assert_same({name: before[name] for name in before}, oracle(view, trips, labels, "pickup_at", ("pu_zone",)))
    store.trim("v", int(at_us.min()))
    after = store.read("v", (labels["pu_zone"].to_numpy(),), at_us)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    early = store.read("v", (np.arange(1, 13),), np.full(12, to_epoch_us(trips["pickup_at"].iloc[200].to_pydatetime())))
    assert early["count_24h"].sum() == 0
    again = store.ingest(view, trips.tail(50))
    assert again.refused["duplicate"] == 50


def test_windows_that_lie_in_two_spans(oracle, tmp_path):
    edge_us = records.SPAN * TILE_US * 700
    t = pd.to_datetime(edge_us + np.arange(-40, 40) * 60_000_000, unit="us", utc=True)
    frame = pd.DataFrame({"zone": 1, "t": t, "seen": t, "x": np.arange(80.0) - 40, "kind": "a"})
    view, store = every(), OnlineStore(tmp_path)
    store.ingest(view, frame)
    labels = pd.DataFrame({"zone": 1, "at": edge_us + np.arange(-50, 120, 3) * 60_000_000})
    assert_same(read(store, view, labels), oracle(view, frame, labels, "at", ("zone",)))


def test_a_store_or_view_that_is_not_there_says_null_and_a_feature_says_what_to_do(tmp_path):
    store = OnlineStore(tmp_path / "none")
    found = store.read("v", (np.array([1, 2]),), np.array([START_US, START_US]))
    assert np.isnan(found["anything"]).all() and found["anything"].shape == (2,)
    assert np.isnan(found.age_s).all()
    assert not (tmp_path / "none").exists()
    store.ingest(every(), table([(1, START_US, 0, 1.0, "a", 1)]))
    with pytest.raises(NotFound, match="without 'anything'"):
        store.read("v", (np.array([1]),), np.array([START_US]))["anything"]


def test_a_definition_that_does_not_fit_is_a_conflict(tmp_path):
    store, frame = OnlineStore(tmp_path), table([(1, START_US, 0, 1.0, "a", 1)])
    store.ingest(every(), frame)
    with pytest.raises(Conflict, match="another tile, key, lateness or aggregation"):
        store.ingest(every(tile="1m"), frame)
    store.drop("v")
    store.ingest(every(tile="1m"), frame)
    assert [definition.tile_s for definition in store.definitions()] == [60]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((), "was given 0 key columns"),
        ((np.array([1.5]),), "is fractional"),
        ((np.array(["1"]),), "give whole numbers"),
    ],
)
def test_wrong_keys_are_refused(tmp_path, keys, message):
    store = OnlineStore(tmp_path)
    store.ingest(every(), table([(1, START_US, 0, 1.0, "a", 1)]))
    with pytest.raises(InvalidInput, match=message):
        store.read("v", keys, np.array([START_US]))


READER = """
import sys
import numpy as np
from bottega.features.online import OnlineStore
store = OnlineStore(sys.argv[1])
while True:
    found = store.read("v", (np.arange(12) + 1,), np.full(12, int(sys.argv[2])))
    total = found["count_7d"].sum()
    assert total == found["of_all_7d"].sum()
    print(int(total), flush=True)
    if total >= 4000:
        break
"""


def test_another_process_reads_while_this_one_writes(trips, tmp_path):
    features = [count().over("7d"), count(where="speed_kmh > -1", name="of_all").over("7d")]
    view = FeatureView("v", ZONE, "trips", "t", features, keys=("pu_zone",))
    moved = trips.assign(t=trips["pickup_at"] - (trips["pickup_at"] - trips["pickup_at"].min()) * 0.7)
    store = OnlineStore(tmp_path)
    store.ingest(view, moved.head(10))
    at_us = to_epoch_us((moved["t"].max() + pd.Timedelta("1h")).to_pydatetime())
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path), str(at_us)], stdout=subprocess.PIPE, text=True
    ) as reader:
        for begin in range(10, len(moved), 50):
            store.ingest(view, moved.iloc[begin : begin + 50])
        out, _ = reader.communicate(timeout=60)
    seen = [int(line) for line in out.split()]
    assert reader.returncode == 0
    assert seen == sorted(seen)
    assert seen[-1] == 4000
