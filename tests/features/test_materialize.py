from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.features import Entity, FeatureView, count, max, mean
from bottega.features.materialize import materialize
from bottega.features.online import OnlineStore
from bottega.features.parity import parity

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


def agrees(store: OnlineStore, trips: pd.DataFrame) -> bool:
    return parity(VIEW, trips, trips, at="pickup_at", keys=["do_zone"], store=store).mismatches == 0


def test_it_answers_as_if_the_events_had_passed_and_again_changes_nothing(store, trips):
    for _ in range(2):
        assert materialize(VIEW, trips, store, SINCE, UNTIL) == len(trips)
        assert agrees(store, trips)


def test_spans_add_up_in_any_order(store, trips):
    middle = datetime(2024, 3, 9, 12, 5, tzinfo=UTC)
    count_late = materialize(VIEW, trips, store, middle, UNTIL)
    count_early = materialize(VIEW, trips, store, SINCE, middle)
    assert count_late + count_early == len(trips)
    assert agrees(store, trips)


def test_a_corrected_source_replaces_its_span_and_nothing_else(store, trips):
    materialize(VIEW, trips, store, SINCE, UNTIL)
    day = SINCE + timedelta(days=3)
    inside = (trips["dropoff_at"] >= day) & (trips["dropoff_at"] < day + timedelta(days=1))
    corrected = trips[~inside | (trips["do_zone"] != 3)].copy()
    corrected["speed_kmh"] = corrected["speed_kmh"].mask(inside, 1.5)
    materialize(VIEW, corrected, store, day, day + timedelta(days=1))
    assert agrees(store, corrected)
    assert not agrees(store, trips)


def test_streaming_goes_on_where_the_span_ended(store, trips):
    middle = datetime(2024, 3, 9, tzinfo=UTC)
    materialize(VIEW, trips, store, SINCE, middle)
    rest = trips[trips["dropoff_at"] >= middle]
    store.ingest(VIEW, rest, offset=0)
    assert agrees(store, trips)


def test_an_empty_span_clears_it(store, trips):
    materialize(VIEW, trips, store, SINCE, UNTIL)
    assert materialize(VIEW, trips.head(0), store, SINCE, UNTIL) == 0
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
        materialize(VIEW, trips, store, since, until)
