import functools
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from bottega.errors import Conflict, InvalidInput
from bottega.eventlog import open_log
from bottega.features import Entity, FeatureView, count, max, mean
from bottega.features.materialize import materialize
from bottega.features.online import OnlineStore
from bottega.features.parity import store_parity
from bottega.features.store import OfflineStore
from bottega.features.updater import Updater
from bottega.pipeline.publish import publish

ZONE = Entity("zone", keys=("zone",))
VIEW = FeatureView(
    "v",
    ZONE,
    "trips",
    "dropoff_at",
    [count().over("1h", "7d"), mean("speed_kmh").over("24h"), max("speed_kmh").over("1h")],
    keys=("do_zone",),
)
SINCE, UNTIL = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)


@pytest.fixture
def store(tmp_path) -> OnlineStore:
    return OnlineStore(tmp_path / "online")


@pytest.fixture(autouse=True, params=["in memory", "by days"])
def way(request, tmp_path, monkeypatch) -> str:
    """Every test runs on events in memory, and on days that the offline store keeps."""
    if request.param == "by days":
        kept = functools.partial(materialize, tiles=OfflineStore(tmp_path / "offline"))
        monkeypatch.setitem(globals(), "materialize", kept)
    return request.param


def agrees(store: OnlineStore, trips: pd.DataFrame) -> bool:
    return store_parity(VIEW, {"trips": trips}, store, trips, at="pickup_at", keys=["do_zone"]).mismatches == 0


def test_it_answers_as_if_the_events_had_passed_and_again_changes_nothing(store, trips):
    for _ in range(2):
        assert materialize(VIEW, {"trips": trips}, store, SINCE, UNTIL) == len(trips)
        assert agrees(store, trips)


def test_spans_add_up_in_any_order(store, trips):
    middle = datetime(2024, 3, 9, 12, 5, tzinfo=UTC)
    count_late = materialize(VIEW, {"trips": trips}, store, middle, UNTIL)
    count_early = materialize(VIEW, {"trips": trips}, store, SINCE, middle)
    assert count_late + count_early == len(trips)
    assert agrees(store, trips)


def test_a_corrected_source_replaces_its_span_and_nothing_else(store, trips):
    materialize(VIEW, {"trips": trips}, store, SINCE, UNTIL)
    day = SINCE + timedelta(days=3)
    inside = (trips["dropoff_at"] >= day) & (trips["dropoff_at"] < day + timedelta(days=1))
    corrected = trips[~inside | (trips["do_zone"] != 3)].copy()
    corrected["speed_kmh"] = corrected["speed_kmh"].mask(inside, 1.5)
    materialize(VIEW, {"trips": corrected}, store, day, day + timedelta(days=1))
    assert agrees(store, corrected)
    assert not agrees(store, trips)


def test_streaming_goes_on_where_the_span_ended(store, trips):
    middle = datetime(2024, 3, 9, tzinfo=UTC)
    materialize(VIEW, {"trips": trips}, store, SINCE, middle)
    rest = trips[trips["dropoff_at"] >= middle]
    store.ingest(VIEW, rest, offset=0)
    assert agrees(store, trips)


def test_an_empty_span_clears_it(store, trips):
    materialize(VIEW, {"trips": trips}, store, SINCE, UNTIL)
    assert materialize(VIEW, {"trips": trips.head(0)}, store, SINCE, UNTIL) == 0
    at = np.array([int(UNTIL.timestamp()) * 1_000_000])
    assert store.read("v", (np.array([3]),), at)["count_7d"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (SINCE + timedelta(seconds=1), UNTIL, "since .* does not lie on an edge of the 5m tiles"),
        (SINCE, UNTIL + timedelta(microseconds=1), "until .* does not lie on an edge"),
        (UNTIL, SINCE, "is not after since"),
    ],
)
def test_a_span_lies_on_tile_edges(store, trips, since, until, message):
    with pytest.raises(InvalidInput, match=message):
        materialize(VIEW, {"trips": trips}, store, since, until)


LATE = FeatureView(
    "late",
    ZONE,
    "trips",
    "pickup_at",
    [count().over("1h", "7d"), mean("speed_kmh").over("24h"), max("speed_kmh").over("1h")],
    keys=("pu_zone",),
    available_at="dropoff_at",
    event_id="trip_id",
    lateness="2h",
)


def test_late_events_count_in_their_own_tile_from_their_arrival_on(store, trips):
    copied = pd.concat([trips, trips.sample(100, random_state=2)])
    assert materialize(LATE, {"trips": copied}, store, SINCE, UNTIL) == len(trips)
    assert store_parity(LATE, {"trips": copied}, store, trips, at="pickup_at", keys=["pu_zone"]).mismatches == 0


@pytest.mark.parametrize("hour", [0, 7, 18])
def test_the_stream_takes_over_where_the_span_ends_no_event_twice_and_none_lost(store, trips, tmp_path, hour):
    middle = datetime(2024, 3, 9, hour, tzinfo=UTC)
    with open_log(tmp_path / "log.db") as log:
        publish([LATE], {"trips": trips}, log)
        counted = materialize(LATE, {"trips": trips}, store, SINCE, middle, log)
        assert counted == store.offset("late", "trips") == (trips["dropoff_at"] < middle).sum()
        (done,) = Updater([LATE], log, store, kept_us=None).run({"trips": 4000})
        assert done.read == 4000 - counted
        newest = trips["dropoff_at"].where(trips["dropoff_at"] < middle).idxmax()
        again = store.ingest(LATE, trips.loc[[newest, 3999]], "trips")
    assert again.refused["duplicate"] == 2
    assert store_parity(LATE, {"trips": trips}, store, trips, at="pickup_at", keys=["pu_zone"]).mismatches == 0


def streamed(log, store: OnlineStore, declared: FeatureView = LATE) -> None:
    Updater([declared], log, store, kept_us=None).run({"trips": log.end("trips")})


def exact(store: OnlineStore, trips: pd.DataFrame) -> bool:
    return store_parity(LATE, {"trips": trips}, store, trips, at="pickup_at", keys=["pu_zone"]).mismatches == 0


@pytest.mark.parametrize("event_id", ["trip_id", None])
def test_a_span_behind_the_stream_counts_nothing_twice(store, trips, tmp_path, event_id):
    declared = FeatureView("late", ZONE, "trips", "pickup_at", LATE.features, keys=("pu_zone",),
        available_at="dropoff_at", event_id=event_id, lateness="2h")  # fmt: skip
    with open_log(tmp_path / "log.db") as log:
        publish([declared], {"trips": trips}, log)
        streamed(log, store, declared)
        materialize(declared, {"trips": trips}, store, SINCE, datetime(2024, 3, 9, tzinfo=UTC), log)
        streamed(log, store, declared)
    assert store_parity(declared, {"trips": trips}, store, trips, at="pickup_at", keys=["pu_zone"]).mismatches == 0


def test_a_span_ahead_of_the_stream_must_reach_back_to_it_and_to_what_is_late(store, trips, tmp_path):
    middle, until = datetime(2024, 3, 8, tzinfo=UTC), datetime(2024, 3, 11, tzinfo=UTC)
    with open_log(tmp_path / "log.db") as log:
        publish([LATE], {"trips": trips}, log)
        materialize(LATE, {"trips": trips}, store, SINCE, middle, log)
        for since in (middle, middle + timedelta(days=1), middle - timedelta(minutes=100)):
            with pytest.raises(InvalidInput, match="late events would be lost or count twice"):
                materialize(LATE, {"trips": trips}, store, since, until, log)
        materialize(LATE, {"trips": trips}, store, middle - timedelta(hours=2), until, log)
        streamed(log, store)
    assert exact(store, trips)


def test_the_take_over_is_found_among_unreadable_records(store, trips, tmp_path):
    from bottega.eventlog.records import encode_rows

    middle = datetime(2024, 3, 7, tzinfo=UTC)
    ordered = trips.sort_values("dropoff_at")[["trip_id", "pu_zone", "pickup_at", "dropoff_at", "speed_kmh"]]
    records = encode_rows(ordered)
    known = int((ordered["dropoff_at"] < middle).sum())
    mixed = records[:known] + [b"{"] * 3 + records[known:2000] + [b"[]"] * 1500 + records[2000:] + [b"{}"]
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", mixed)
        assert materialize(LATE, {"trips": trips}, store, SINCE, middle, log) == known
        assert store.offset("late", "trips") == known
        streamed(log, store)
    assert exact(store, trips)


def test_a_stream_that_missed_records_is_not_repaired_halfway(store, trips, tmp_path):
    with open_log(tmp_path / "log.db") as log:
        publish([LATE], {"trips": trips}, log)
        Updater([LATE], log, store, kept_us=None).run({"trips": 300})
        log.trim("trips", 500)
        with pytest.raises(Conflict, match="record 300 of topic 'trips', which is trimmed away"):
            materialize(LATE, {"trips": trips}, store, SINCE, datetime(2024, 3, 9, tzinfo=UTC), log)
        store.drop("late")
        materialize(LATE, {"trips": trips}, store, SINCE, datetime(2024, 3, 9, tzinfo=UTC), log)
        streamed(log, store)
    assert exact(store, trips)


def test_an_interrupted_run_goes_on_where_it_was(store, trips, tmp_path):
    kept = OfflineStore(tmp_path / "kept")

    def interrupt(task: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(VIEW, {"trips": trips}, store, SINCE, UNTIL, tiles=kept, progress=interrupt)
    assert not store.definitions()
    computed = []
    counted = materialize(
        VIEW,
        {"trips": trips},
        store,
        SINCE,
        UNTIL,
        tiles=kept,
        progress=lambda task, done, total: computed.append((done, total)),
    )
    assert counted == len(trips)
    assert computed[0] == (0, 6)  # of ten days, four were there
    assert agrees(store, trips)


WRITER = """
import sys
from datetime import UTC, datetime
import pandas as pd
from bottega.features import Entity, FeatureView, count, sum
from bottega.features.materialize import materialize
from bottega.features.online import OnlineStore
from bottega.features.store import OfflineStore
VIEW = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [count().over("7d"), sum("x", scale=1).over("7d")])
store, trips = OnlineStore(sys.argv[1]), pd.read_parquet(sys.argv[2])
since, until = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC)
tiles = OfflineStore(sys.argv[3]) if sys.argv[3:] else None
n = 0
while True:
    n += 1
    materialize(VIEW, {"trips": trips.assign(x=n)}, store, since, until, tiles=tiles)
    print(n, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_readers_see_a_whole_materialisation_or_the_one_before_also_when_it_is_killed(way, tmp_path, kills):
    """Each materialisation gives every event another value: a mixture would show as a sum that is no multiple."""
    rng, n = np.random.default_rng(kills), 20_000
    frame = pd.DataFrame(
        {
            "zone": rng.integers(1, 200, n),
            "t": pd.to_datetime(rng.integers(1_709_596_800, 1_710_201_600, n), unit="s", utc=True).as_unit("us"),
        }
    )
    frame.to_parquet(tmp_path / "trips.parquet")
    store, zones = OnlineStore(tmp_path / "store"), np.arange(1, 200)
    at_us = np.full(len(zones), 1_710_201_600_000_000)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(tmp_path / "trips.parquet")]
    command += [str(tmp_path / "offline")] if way == "by days" else []
    reads = 0
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            end = time.monotonic() + rng.uniform(0, 0.3)
            while time.monotonic() < end or not reads:
                found = store.read("v", (zones,), at_us)
                assert found["count_7d"].sum() == n
                assert len(set((found["x_sum_7d"] / found["count_7d"]).tolist())) == 1
                reads += 1
            writer.kill()
        found = store.read("v", (zones,), at_us)
        assert found["count_7d"].sum() == n
        assert len(set((found["x_sum_7d"] / found["count_7d"]).tolist())) == 1
    assert reads > kills
