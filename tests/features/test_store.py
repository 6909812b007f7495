import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.features.store import OfflineStore


@pytest.fixture
def store(tmp_path) -> OfflineStore:
    return OfflineStore(tmp_path / "offline")


def test_a_table_comes_back_as_it_went(store, trips):
    written = store.write("trips", trips)
    assert written.rows == len(trips)
    pd.testing.assert_frame_equal(store.read("trips"), trips)
    assert list(store.read("trips", columns=["pu_zone"]).columns) == ["pu_zone"]
    assert store.tables() == ("trips",)


def test_segments_add_up_and_the_same_segment_is_replaced(store, trips, tmp_path):
    store.write("trips", trips.iloc[:10], "monday")
    store.write("trips", trips.iloc[10:20], "tuesday")
    store.write("trips", trips.iloc[5:8], "monday")
    assert [(s.name, s.rows) for s in store.segments("trips")] == [("monday", 3), ("tuesday", 10)]
    assert store.read("trips")["trip_id"].tolist() == [5, 6, 7, *range(10, 20)]
    assert len(list((tmp_path / "offline" / "trips").glob("*.parquet"))) == 2


def test_a_segment_that_failed_half_way_is_not_seen(store, trips, monkeypatch):
    store.write("trips", trips.iloc[:10], "monday")

    def fail(*_):
        raise RuntimeError("power cut before the manifest is written")

    with monkeypatch.context() as patch:
        patch.setattr("bottega.features.store.write_json", fail)
        with pytest.raises(RuntimeError):
            store.write("trips", trips.iloc[:5], "monday")
    assert len(store.read("trips")) == 10
    store.write("trips", trips.iloc[:5], "monday")
    assert len(store.read("trips")) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(pu_zone=t["pu_zone"].astype("int64")), "pu_zone is new or of another type"),
        (lambda t: t.drop(columns="speed_kmh"), "speed_kmh is missing"),
        (lambda t: t.assign(tip_usd=1.0), "tip_usd is new"),
        (lambda t: t[t.columns[::-1]], "the columns are in another order"),
    ],
)
def test_a_segment_with_other_columns_is_refused(store, trips, change, message):
    store.write("trips", trips, "monday")
    with pytest.raises(InvalidData, match=message):
        store.write("trips", change(trips), "tuesday")
    assert len(store.segments("trips")) == 1


def test_names_that_are_no_names_are_refused(store, trips):
    for table, segment in (("../trips", "all"), ("trips", "../all")):
        with pytest.raises(InvalidInput, match="is not a name"):
            store.write(table, trips, segment)


def test_a_missing_or_damaged_table_says_so(store, trips, tmp_path):
    with pytest.raises(NotFound, match=r"no offline table 'trips'. There are: none"):
        store.read("trips")
    written = store.write("trips", trips)
    (tmp_path / "offline" / "trips" / written.file).write_bytes(b"PAR1 no")
    with pytest.raises(InvalidData, match="is damaged"):
        store.read("trips")
    (tmp_path / "offline" / "trips" / "manifest.json").write_bytes(b"{")
    with pytest.raises(InvalidData, match=r"manifest.json is damaged"):
        store.read("trips")


def test_a_removed_segment_is_an_error_not_an_empty_table(store, trips, tmp_path):
    written = store.write("trips", trips)
    (tmp_path / "offline" / "trips" / written.file).unlink()
    with pytest.raises(FileNotFoundError):
        store.read("trips")


def test_an_empty_segment_has_columns_and_no_rows(store, trips):
    store.write("trips", trips.head(0))
    assert list(store.read("trips").columns) == list(trips.columns)
    assert np.sum(store.read("trips")["duration_min"]) == 0
