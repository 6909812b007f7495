"""Backfill: the same values as from events, each day computed once, and again only where its inputs changed."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.features import (
    Entity,
    FeatureView,
    Source,
    backfill,
    count,
    distinct,
    last,
    mean,
    stddev,
    stored,
)
from bottega.features import max as greatest
from bottega.features import min as least
from bottega.features import sum as total
from bottega.features.backfill import Backfilled
from bottega.features.offline import TrainingSet
from bottega.features.store import OfflineStore

FEATURES = [
    count().over("15m", "7d"),
    total("speed_kmh").over("1h"),
    mean("speed_kmh").over("1h", "24h"),
    least("speed_kmh").over("24h"),
    greatest("speed_kmh", where="duration_min > 20", name="long_speed_max").over("24h"),
    last("speed_kmh").over("24h"),
    stddev("duration_min").over("24h"),
    distinct("duration_min", cap=6).over("1h", "24h"),
]
SINCE, UNTIL = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC)


def late_view(**options) -> FeatureView:
    given = {
        "entity": Entity("zone", ("zone",)),
        "source": "trips",
        "event_time": "pickup_at",
        "available_at": "dropoff_at",
        "event_id": "trip_id",
        "keys": ("pu_zone",),
    } | options
    return FeatureView("late", features=FEATURES, **given)


def joined(labels: pd.DataFrame, view: FeatureView, table, **options) -> pd.DataFrame:
    suffix = "" if not view.entity.keys else "@pu_zone" if len(view.entity.keys) == 1 else "@pu_zone,do_zone"
    refs = [f"late:{feature.name}{suffix}" for feature in view.features]
    return TrainingSet(labels, refs, "pickup_at").compute([view], {"trips": table}, **options)


@pytest.fixture
def store(tmp_path) -> OfflineStore:
    return OfflineStore(tmp_path / "offline")


@pytest.fixture(scope="module")
def copied(trips) -> pd.DataFrame:
    """The trips out of order, some of them twice."""
    return pd.concat([trips, trips.sample(300, random_state=1)]).sample(frac=1, random_state=2, ignore_index=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"available_at": None},
        {"entity": Entity("city"), "keys": ()},
        {"entity": Entity("pair", ("a", "b")), "keys": ("pu_zone", "do_zone"), "tile": "15m"},
    ],
)
def test_stored_tiles_give_the_values_of_the_events(trips, copied, store, options):
    view, labels = late_view(**options), trips.sample(300, random_state=3)
    expected = joined(labels, view, copied)
    pd.testing.assert_frame_equal(joined(labels, view, copied, tiles=store), expected)
    pd.testing.assert_frame_equal(joined(labels, view, copied, tiles=store), expected)


def test_stored_tiles_of_text_keys_in_buckets(trips, copied, store, monkeypatch):
    table = copied.assign(pu_zone="zone " + copied["pu_zone"].astype(str))
    view = late_view(entity=Entity("zone", ("zone",), "string"))
    labels = table.sample(300, random_state=3)
    expected = joined(labels, view, table)
    monkeypatch.setattr(stored, "BYTES_AN_EVENT", 1_000_000)
    seen = []
    found = joined(labels, view, table, tiles=store, progress=lambda *call: seen.append(call))
    pd.testing.assert_frame_equal(found, expected)
    assert ("windows of late", 2, 3) in seen


def test_only_new_and_changed_days_are_computed(trips, store):
    view = late_view()
    early = trips[trips["pickup_at"] < "2024-03-08"]
    first = backfill.backfill(view, {"trips": early}, store, SINCE, UNTIL)
    assert first.computed == ("2024-03-05", "2024-03-06", "2024-03-07")
    assert first.refused == {"beyond the watermark": int((early.eval("dropoff_at - pickup_at") > "1h").sum())}
    changed = trips.copy()
    changed.loc[0, "speed_kmh"] += 1
    again = backfill.backfill(view, {"trips": changed}, store, SINCE, UNTIL)
    assert again.computed == ("2024-03-05", *(f"2024-03-{day:02}" for day in range(8, 14)))
    assert again.kept == ("2024-03-06", "2024-03-07")
    done = backfill.backfill(view, {"trips": changed}, store, SINCE, UNTIL)
    assert done == Backfilled((), tuple(f"2024-03-{day:02}" for day in range(5, 14)), {})
    labels = trips.sample(200, random_state=4)
    pd.testing.assert_frame_equal(joined(labels, view, changed, tiles=store), joined(labels, view, changed))


def test_a_new_file_touches_its_own_days_and_a_removed_one_too(trips, store, tmp_path):
    view, folder = late_view(), tmp_path / "in"
    folder.mkdir()
    for day, rows in trips.groupby(trips["pickup_at"].dt.day):
        if day != 9:
            rows.to_parquet(folder / f"{day:02}.parquet")
    days = tuple(f"2024-03-{day:02}" for day in range(5, 14))
    first = backfill.backfill(view, {"trips": folder}, store, SINCE, UNTIL)
    assert first.computed == tuple(day for day in days if day != "2024-03-09")
    trips[trips["pickup_at"].dt.day == 9].to_parquet(folder / "09.parquet")
    assert backfill.backfill(view, {"trips": folder}, store, SINCE, UNTIL).computed == ("2024-03-09",)
    (folder / "06.parquet").unlink()
    assert backfill.backfill(view, {"trips": folder}, store, SINCE, UNTIL).computed == ("2024-03-06",)
    left = trips[trips["pickup_at"].dt.day != 6]
    labels = trips.sample(200, random_state=4)
    pd.testing.assert_frame_equal(joined(labels, view, folder, tiles=store), joined(labels, view, left))


def test_another_declaration_is_another_table_but_another_window_is_not(trips, store):
    backfill.backfill(late_view(), {"trips": trips}, store, SINCE, UNTIL)
    fewer = FeatureView("late", **_fields(late_view()), features=[*FEATURES, count().over("3h")])
    assert backfill.backfill(fewer, {"trips": trips}, store, SINCE, UNTIL).computed == ()
    later = late_view(lateness="30m")
    assert len(backfill.backfill(later, {"trips": trips}, store, SINCE, UNTIL).computed) == 9


def _fields(view: FeatureView) -> dict:
    return {"entity": view.entity, "sources": view.sources}


def test_an_interrupted_backfill_goes_on_where_it_stopped(trips, store, monkeypatch):
    view = late_view()

    def stop(task: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill.backfill(view, {"trips": trips}, store, SINCE, UNTIL, progress=stop)
    rest = backfill.backfill(view, {"trips": trips}, store, SINCE, UNTIL)
    assert rest.kept == tuple(f"2024-03-{day:02}" for day in range(5, 9))
    assert len(rest.computed) == 5


def test_a_day_whose_record_was_not_written_is_computed_again(trips, store, monkeypatch):
    view, written = late_view(), []
    write = OfflineStore.write

    def fails(self, table, rows, segment="all"):
        if table.startswith("late_tiles") and table.endswith("_days") and len(written) == 2:
            raise OSError("power cut")
        written.append(table) if table.endswith("_days") else None
        return write(self, table, rows, segment)

    monkeypatch.setattr(OfflineStore, "write", fails)
    with pytest.raises(OSError, match="power cut"):
        backfill.backfill(view, {"trips": trips}, store, SINCE, UNTIL)
    monkeypatch.undo()
    rest = backfill.backfill(view, {"trips": trips}, store, SINCE, UNTIL)
    assert rest.kept == ("2024-03-05", "2024-03-06")
    labels = trips.sample(100, random_state=4)
    pd.testing.assert_frame_equal(joined(labels, view, trips, tiles=store), joined(labels, view, trips))


def test_several_sources_and_more_days_than_are_read_at_once(trips, store, monkeypatch):
    monkeypatch.setattr(backfill, "DAYS_AT_ONCE", 2)
    zone = Entity("zone", ("zone",))
    view = FeatureView(
        "late",
        zone,
        sources=[
            Source("trips", "pickup_at", available_at="dropoff_at", event_id="trip_id", keys=("pu_zone",)),
            Source("arrivals", "dropoff_at", delay="3m", keys=("do_zone",)),
        ],
        features=FEATURES,
    )
    labels = trips.sample(200, random_state=5)
    refs = [f"late:{feature.name}@pu_zone" for feature in view.features]
    sources = {"trips": trips, "arrivals": trips}
    expected = TrainingSet(labels, refs, "pickup_at").compute([view], sources)
    pd.testing.assert_frame_equal(
        TrainingSet(labels, refs, "pickup_at").compute([view], sources, tiles=store), expected
    )


def test_labels_far_away_make_no_empty_segments(trips, store):
    labels = trips.head(2).assign(pickup_at=pd.to_datetime(["1990-01-01", "2024-03-09"], utc=True))
    found = joined(labels, late_view(), trips, tiles=store)
    np.testing.assert_array_equal(found["count_7d"].to_numpy() > 0, [False, True])
    days = next(name for name in store.tables() if name.endswith("_days"))
    assert len(store.segments(days)) == 4


def test_a_span_that_ends_before_it_begins_is_refused(trips, store):
    with pytest.raises(InvalidInput, match="is not after since"):
        backfill.backfill(late_view(), {"trips": trips}, store, UNTIL, SINCE)
