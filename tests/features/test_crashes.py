"""A full disk: nothing is lost, what was there still answers, and the stream goes on once there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.errors import StorageError
from bottega.eventlog import open_log
from bottega.features import Entity, FeatureView, count, mean
from bottega.features.online import OnlineStore
from bottega.features.parity import store_parity
from bottega.features.updater import Updater
from bottega.pipeline.publish import publish

VIEW = FeatureView(
    "v",
    Entity("pair", ("pu_zone", "do_zone")),
    "trips",
    "dropoff_at",
    [count().over("1h", "7d"), mean("speed_kmh").over("24h")],
    event_id="trip_id",
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_an_updater_on_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk, trips, tmp_path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_700_000))
    with open_log(tmp_path / "log.db") as log:
        publish([VIEW], {"trips": trips}, log)
        store = OnlineStore(small_disk / "store")
        updater = Updater([VIEW], log, store, batch=100, kept_us=None)
        with pytest.raises(StorageError, match=r"cannot be written: .*Free some space.*nothing was changed"):
            updater.run({"trips": 4000})
        reached = store.offset("v", "trips")
        assert 0 < reached < 4000
        at_us = np.array([pd.Timestamp("2024-03-14", tz="UTC").value // 1000])
        before = store.read("v", (np.array([3]), np.array([4])), at_us)["count_7d"]
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        updater.run({"trips": 4000})
        assert store.read("v", (np.array([3]), np.array([4])), at_us)["count_7d"] >= before
    assert store_parity(VIEW, {"trips": trips}, store, trips, at="pickup_at").mismatches == 0
    del updater, store


def test_a_replacement_on_a_full_disk_leaves_the_old_snapshot(small_disk, trips):
    from datetime import UTC, datetime

    from bottega.features.materialize import materialize

    since, until = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)
    store = OnlineStore(small_disk / "store")
    materialize(VIEW, {"trips": trips.head(200)}, store, since, until)
    with pytest.raises(StorageError, match="nothing was changed"):
        for _ in range(50):
            many = pd.concat([trips.assign(pu_zone=trips["pu_zone"] + 100 * n) for n in range(40)])
            materialize(VIEW, {"trips": many}, store, since, until)
    assert store_parity(VIEW, {"trips": trips.head(200)}, store, trips, at="pickup_at").mismatches == 0
    del store
