"""The updater against the offline engine and the loop: exactly once, whatever breaks in between."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from bottega.errors import Conflict, NotFound
from bottega.eventlog import open_log
from bottega.eventlog.records import encode_rows
from bottega.features import Entity, FeatureView, Source, count, last, mean, min
from bottega.features.materialize import materialize
from bottega.features.offline import TrainingSet
from bottega.features.online import OnlineStore
from bottega.features.updater import KEPT_US, Updater, stream_columns, unbindable
from bottega.pipeline.publish import publish
from bottega.times import DAY_US, from_epoch_us

ZONE = Entity("zone", ("zone",))


def view(name: str = "v", key: str = "pu_zone", **options) -> FeatureView:
    features = [
        count().over("1h", "24h"),
        mean("speed_kmh").over("1h", "24h"),
        min("duration_min").over("24h"),
        last("speed_kmh").over("1h"),
        count(where="duration_min > 30", name="long").over("24h"),
    ]
    given = {"source": "trips", "event_time": "pickup_at", "available_at": "dropoff_at", "lateness": "1h"} | options
    return FeatureView(name, ZONE, features=features, keys=(key,), event_id="trip_id", **given)


def asked(trips: pd.DataFrame, n: int = 80) -> tuple[pd.DataFrame, np.ndarray]:
    labels = trips.sample(n, random_state=4)
    return labels, labels["pickup_at"].dt.tz_localize(None).to_numpy().view(np.int64)


def same(store: OnlineStore, declared: FeatureView, expected: dict, labels: pd.DataFrame, at_us: np.ndarray) -> None:
    found = store.read(declared.name, (labels[declared.sources[0].keys[0]].to_numpy(),), at_us)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], np.array(column, float), err_msg=name)


def test_a_stream_with_copies_gives_the_loop_s_values_to_every_view(oracle, trips, tmp_path):
    views = [view(), view("w", "do_zone")]
    copied = pd.concat([trips, trips.sample(200, random_state=1)], ignore_index=True)
    with open_log(tmp_path / "log.db") as log:
        assert publish(views, {"trips": copied}, log) == {"trips": 4200}
        store = OnlineStore(tmp_path / "store")
        updater = Updater(views, log, store, batch=700, kept_us=None)
        done = {one.view: one for one in updater.run({"trips": 4200})}
    late = ((trips["dropoff_at"] - trips["pickup_at"]) > pd.Timedelta("1h")).sum()
    for one in done.values():
        assert (one.read, one.lag, one.quarantined) == (4200, 0, 0)
        assert one.refused["duplicate"] == 4200 - one.counted - one.refused["beyond the watermark"]
        assert one.counted == 4000 - late
    labels, at_us = asked(trips)
    for declared in views:
        key = declared.sources[0].keys
        same(store, declared, oracle(declared, copied, labels, "pickup_at", key), labels, at_us)


def test_publishing_again_appends_only_what_is_newer(trips, tmp_path):
    with open_log(tmp_path / "log.db") as log:
        first = trips["dropoff_at"].min().to_pydatetime()
        half = trips["dropoff_at"].quantile(0.5).to_pydatetime()
        assert publish([view()], {"trips": trips}, log, first, half)["trips"] == (trips["dropoff_at"] < half).sum()
        assert publish([view()], {"trips": trips}, log, first, half)["trips"] == (trips["dropoff_at"] < half).sum()
        assert publish([view()], {"trips": trips}, log)["trips"] == 4000
        assert publish([view()], {"trips": trips}, log)["trips"] == 4000


def test_unreadable_records_are_counted_kept_and_passed(oracle, trips, tmp_path):
    declared = view()
    some = trips.head(300)
    records = encode_rows(some[list(stream_columns(declared, declared.sources[0]))])
    broken = {
        3: b"{",
        50: b'{"pu_zone":"seven","trip_id":1,"pickup_at":0,"dropoff_at":0}',
        51: b'{"pu_zone":7,"trip_id":1,"pickup_at":"2024-03-05T12:00:00","dropoff_at":0}',
        120: b'{"pu_zone":7,"trip_id":1,"speed_kmh":1e300,"pickup_at":0,"dropoff_at":0}',
        299: b"[1,2]",
    }
    mixed = [broken.get(n, record) for n, record in enumerate(records)]
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", mixed)
        store = OnlineStore(tmp_path / "store")
        (done,) = Updater([declared], log, store, tmp_path / "quarantine", batch=100, kept_us=None).run({"trips": 300})
    assert (done.read, done.quarantined, done.lag) == (300, 5, 0)
    assert done.refused["unreadable"] == store.refused("v")["unreadable"] == 5
    files = sorted((tmp_path / "quarantine").rglob("*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [line["offset"] for line in lines] == list(broken)
    assert [line["record"].encode() for line in lines] == list(broken.values())
    assert "with scale 1000 it must lie within" in lines[3]["reason"]
    labels, at_us = asked(some, 60)
    left = some.drop(index=list(broken))
    same(store, declared, oracle(declared, left, labels, "pickup_at", ("pu_zone",)), labels, at_us)


def test_a_missing_field_is_a_null_and_a_null_key_is_refused(tmp_path):
    declared = view()
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", [b'{"trip_id":1,"pickup_at":0,"dropoff_at":0}', b'{"trip_id":2,"pu_zone":7}'])
        (done,) = Updater([declared], log, OnlineStore(tmp_path / "store")).run({"trips": 2})
    assert (done.counted, done.refused) == (0, {"null key": 1, "null time": 1})


def test_a_key_out_of_range_is_refused_alike_by_stream_materialisation_and_training(tmp_path):
    declared = FeatureView("v", Entity("zone", "pu_zone", "int32"), "trips", "dropoff_at", [count().over("1h")])
    times = pd.to_datetime([60, 61, 62, 63], unit="s", utc=True).as_unit("us")
    rides = pd.DataFrame({"pu_zone": [7, 2**31, -(2**31) - 1, 2**31 - 1], "dropoff_at": times})
    with open_log(tmp_path / "log.db") as log:
        publish([declared], {"trips": rides}, log)
        store = OnlineStore(tmp_path / "store")
        (streamed,) = Updater([declared], log, store).run({"trips": 4})
    counts: list = []
    labels = rides.assign(at=times + pd.Timedelta("30min"))
    trained = TrainingSet(labels, ["v:count_1h"], "at").compute(
        [declared], {"trips": rides}, refused=lambda view, refused: counts.append((view, refused))
    )
    read = store.read("v", (rides["pu_zone"].to_numpy(),), labels["at"].to_numpy("datetime64[us]").view(np.int64))
    assert trained["count_1h"].tolist() == read["count_1h"].tolist() == [1, 0, 0, 1]
    assert counts == [("v", {"key out of range": 2})]
    assert (streamed.counted, streamed.refused) == (2, store.refused("v")) == (2, {"key out of range": 2})
    since, until = from_epoch_us(0), from_epoch_us(DAY_US)
    assert materialize(declared, {"trips": rides}, OnlineStore(tmp_path / "other"), since, until) == 2


def test_rows_that_do_not_bind_are_found_one_by_one(trips):
    rows = trips.head(100).copy()
    rows.loc[rows.index[[7, 8, 93]], "speed_kmh"] = [np.inf, -1e300, 1e300]
    assert sorted(unbindable(view(), "trips", rows)) == [7, 8, 93]


def test_another_updater_goes_on_where_the_store_is_and_a_second_one_beside_it_counts_nothing_twice(
    oracle, trips, tmp_path
):
    declared = view()
    with open_log(tmp_path / "log.db") as log:
        publish([declared], {"trips": trips}, log)
        first = Updater([declared], log, OnlineStore(tmp_path / "store"), batch=333, kept_us=None)
        first.run({"trips": 2000})
        store = OnlineStore(tmp_path / "store")
        second = Updater([declared], log, store, batch=512, kept_us=None)
        assert store.offset("v", "trips") == 2000
        second.run({"trips": 4000})
        first.run({"trips": 4000})
        assert first.report()[0].read + second.report()[0].read == 4000
    labels, at_us = asked(trips)
    same(store, declared, oracle(declared, trips, labels, "pickup_at", ("pu_zone",)), labels, at_us)
    with pytest.raises(Conflict):
        store.ingest(declared, trips.tail(5), "trips", offset=4100)


def test_old_tiles_and_ids_go_once_a_day_and_recent_answers_stay(oracle, trips, tmp_path):
    declared = view()
    with open_log(tmp_path / "log.db") as log:
        publish([declared], {"trips": trips}, log)
        store = OnlineStore(tmp_path / "store")
        Updater([declared], log, store, batch=100).run({"trips": 4000})
    newest = store.progress_us("v")
    labels = trips[trips["pickup_at"] > trips["pickup_at"].max() - pd.Timedelta(KEPT_US - DAY_US, unit="us")]
    labels, at_us = asked(labels, 60)
    assert at_us.min() > newest - KEPT_US
    same(store, declared, oracle(declared, trips, labels, "pickup_at", ("pu_zone",)), labels, at_us)
    long_ago = store.read("v", (np.arange(1, 13),), np.full(12, newest - 6 * DAY_US))
    assert long_ago["count_24h"].sum() == 0


def plain(name: str = "p", **options) -> FeatureView:
    features = [count().over("1h", "7d"), mean("speed_kmh").over("24h")]
    return FeatureView(name, ZONE, "trips", "dropoff_at", features, keys=("pu_zone",), **options)


def every(store: OnlineStore, trips: pd.DataFrame, name: str = "p") -> float:
    """How many trips count in the last week."""
    at_us = np.full(40, trips["dropoff_at"].max().value // 1000 + 3_600_000_000)
    return store.read(name, (np.arange(40),), at_us)["count_7d"].sum()


def a_week(trips: pd.DataFrame) -> pd.DataFrame:
    """The trips of the last week, in the order in which they ended."""
    recent = trips[trips["dropoff_at"] > trips["dropoff_at"].max() - pd.Timedelta("6D")]
    return recent.sort_values("dropoff_at", ignore_index=True)


def test_a_record_is_kept_before_the_store_passes_it(trips, tmp_path):
    class Dies(OnlineStore):
        def ingest(self, *given, **named):
            super().ingest(*given, **named)
            raise KeyboardInterrupt

    with open_log(tmp_path / "log.db") as log:
        log.append("trips", [b"{"])
        with pytest.raises(KeyboardInterrupt):
            Updater([plain()], log, Dies(tmp_path / "store"), tmp_path / "quarantine").step()
        assert OnlineStore(tmp_path / "store").offset("p", "trips") == 1
    (file,) = (tmp_path / "quarantine").rglob("*.jsonl")
    assert json.loads(file.read_text())["offset"] == 0


def test_an_unreadable_record_is_so_for_the_views_that_need_its_field(tmp_path):
    other = FeatureView("other", ZONE, "trips", "dropoff_at", [count().over("1h")], keys=("pu_zone",))
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", [b'{"pu_zone":7,"dropoff_at":0,"speed_kmh":"fast"}'])
        found = Updater([plain(), other], log, OnlineStore(tmp_path / "store"), tmp_path / "kept").run({"trips": 1})
    assert [(one.counted, one.quarantined) for one in found] == [(0, 1), (1, 0)]
    assert [file.name for file in (tmp_path / "kept").rglob("*.jsonl")] == ["p.trips.000000000000.jsonl"]


def test_views_may_read_a_column_as_different_types(tmp_path):
    named = FeatureView("named", Entity("z", ("z",), "string"), "trips", "dropoff_at", [count().over("1h")])
    numbered = FeatureView("numbered", Entity("z", ("z",)), "trips", "dropoff_at", [count().over("1h")])
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", [b'{"z":7,"dropoff_at":0}', b'{"z":"north","dropoff_at":0}'])
        found = Updater([named, numbered], log, OnlineStore(tmp_path / "store")).run({"trips": 2})
    assert [(one.counted, one.quarantined) for one in found] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("key", ["x" * 600, "a\0b"])
def test_a_text_key_that_the_store_cannot_hold_does_not_stop_the_stream(tmp_path, key):
    named = FeatureView("named", Entity("z", ("z",), "string"), "trips", "dropoff_at", [count().over("1h")])
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", encode_rows(pd.DataFrame({"z": ["a", key, "b"], "dropoff_at": [0, 0, 0]})))
        (done,) = Updater([named], log, OnlineStore(tmp_path / "store")).run({"trips": 3})
    assert (done.counted, done.quarantined, done.lag) == (2, 1, 0)


def test_one_wrong_clock_does_not_make_the_store_forget(trips, tmp_path):
    week = a_week(trips)
    records = encode_rows(week[["pu_zone", "dropoff_at", "speed_kmh"]])
    records.insert(len(week) // 2, b'{"pu_zone":7,"dropoff_at":"2900-01-01T00:00:00Z"}')
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", records)
        store = OnlineStore(tmp_path / "store")
        Updater([plain()], log, store, batch=100).run({"trips": len(records)})
    assert every(store, week) == len(week)


def test_a_new_store_begins_where_a_trimmed_log_does(trips, tmp_path):
    week = a_week(trips)
    with open_log(tmp_path / "log.db") as log:
        log.append("trips", encode_rows(week[["pu_zone", "dropoff_at", "speed_kmh"]]))
        log.trim("trips", 500)
        store = OnlineStore(tmp_path / "store")
        (done,) = Updater([plain()], log, store, kept_us=None).run({"trips": len(week)})
        assert (done.read, done.lag, store.offset("p", "trips")) == (len(week) - 500, 0, len(week))
    assert every(store, week) == len(week) - 500


def test_what_was_trimmed_before_it_was_read_is_no_silent_loss(trips, tmp_path):
    with open_log(tmp_path / "log.db") as log:
        publish([plain()], {"trips": trips}, log)
        store = OnlineStore(tmp_path / "store")
        Updater([plain()], log, store).run({"trips": 300})
        log.trim("trips", 500)
        with pytest.raises(NotFound, match="no record 300 any more"):
            Updater([plain()], log, store).run({"trips": 4000})


def test_a_log_that_ends_before_the_store_is_another_log(trips, tmp_path):
    store = OnlineStore(tmp_path / "store")
    with open_log(tmp_path / "log.db") as log:
        publish([plain()], {"trips": trips}, log)
        Updater([plain()], log, store).run({"trips": 4000})
    with open_log(tmp_path / "other.db") as log:
        publish([plain()], {"trips": trips.head(10)}, log)
        with pytest.raises(Conflict, match="up to record 4000, but the log ends at 10"):
            Updater([plain()], log, store)


def test_a_source_far_behind_keeps_what_it_still_needs(trips, tmp_path):
    """One topic is a week ahead of the other, which then brings copies: their ids must not be forgotten."""
    sources = [Source(name, "dropoff_at", event_id="trip_id", keys="pu_zone") for name in ("slow", "fast")]
    both = FeatureView("p", ZONE, sources=sources, features=[count().over("7d")])
    ordered = trips.sort_values("dropoff_at", ignore_index=True)[["trip_id", "pu_zone", "dropoff_at"]]
    with open_log(tmp_path / "log.db") as log:
        log.append("slow", encode_rows(pd.concat([ordered[:100], ordered[:50]])))
        log.append("fast", encode_rows(ordered[-1000:]))
        updater = Updater([both], log, OnlineStore(tmp_path / "store"), batch=50)
        found = updater.run({"slow": 150, "fast": 1000})
    assert [(one.source, one.counted, one.refused) for one in found] == [
        ("slow", 100, {"duplicate": 50}),
        ("fast", 1000, {}),
    ]


FOLLOWER = """
import sys
from bottega.eventlog import open_log
from bottega.features.materialize import materialize
from bottega.features.offline import TrainingSet
from bottega.features.online import OnlineStore
from bottega.features.updater import Updater
sys.path.insert(0, sys.argv[3])
from updated_view import VIEW
with open_log(sys.argv[1]) as log:
    Updater([VIEW], log, OnlineStore(sys.argv[2]), batch=25).run()
"""
DECLARATION = """
from bottega.features import Entity, FeatureView, Source, count, last, mean, min
VIEW = FeatureView(
    "v", Entity("zone", ("zone",)), "trips", "pickup_at",
    [count().over("1h", "24h"), mean("speed_kmh").over("1h", "24h"), min("duration_min").over("24h"),
     last("speed_kmh").over("1h"), count(where="duration_min > 30", name="long").over("24h")],
    available_at="dropoff_at", lateness="1h", keys=("pu_zone",), event_id="trip_id",
)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_updater_loses_nothing_and_counts_nothing_twice(oracle, trips, tmp_path, kills):
    """A child follows the log and is killed at random moments, half of them in the midst of its work."""
    (tmp_path / "updated_view.py").write_text(DECLARATION)
    declared, rng = view(), np.random.default_rng(kills)
    store = OnlineStore(tmp_path / "store")
    command = [sys.executable, "-c", FOLLOWER, *map(str, (tmp_path / "log.db", tmp_path / "store", tmp_path))]
    with open_log(tmp_path / "log.db") as log:
        publish([declared], {"trips": trips}, log)
        for n in range(kills):
            with subprocess.Popen(command) as child:
                start, aim = store.offset("v", "trips"), (n + 1) * 3600 // kills
                deadline = time.monotonic() + 60
                while store.offset("v", "trips") < aim and time.monotonic() < deadline:
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.02))
                child.kill()
            assert store.offset("v", "trips") > start
        left = Updater([declared], log, store)
        left.run({"trips": 4000})
    labels, at_us = asked(trips)
    recent = at_us > store.progress_us("v") - KEPT_US
    same(
        store,
        declared,
        {k: np.array(v)[recent] for k, v in oracle(declared, trips, labels, "pickup_at", ("pu_zone",)).items()},
        labels[recent],
        at_us[recent],
    )
    assert sum(store.refused("v").values()) == ((trips["dropoff_at"] - trips["pickup_at"]) > pd.Timedelta("1h")).sum()
