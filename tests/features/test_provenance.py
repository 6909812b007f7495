"""Why this value: every event of the window with its outcome, and their sum is the value."""

import pandas as pd
import pytest

from bottega.errors import InvalidInput, NotFound
from bottega.features import Entity, FeatureView, count, mean
from bottega.features.provenance import provenance
from bottega.times import to_epoch_us

T0 = pd.Timestamp("2024-03-05 12:00", tz="UTC")
VIEW = FeatureView(
    "v",
    Entity("zone", keys=("zone",)),
    "events",
    "t",
    [mean("x").over("15m"), count(where="kind == 'a'", name="of_a").over("15m")],
    available_at="seen",
    event_id="id",
    lateness="30m",
)


def table(rows: list[tuple]) -> pd.DataFrame:
    """(minute of the event, minute at which it was seen, value, kind, id, zone), minutes after noon."""
    frame = pd.DataFrame(rows, columns=["t", "seen", "x", "kind", "id", "zone"])
    for name in ("t", "seen"):
        frame[name] = (T0 + pd.to_timedelta(frame[name], unit="m")).astype("datetime64[us, UTC]")
    return frame


EVENTS = table(
    [
        (0.5, 0.5, 10.0, "a", 1, 7),  # before the window of 12:21
        (6.0, 6.5, 20.0, "a", 2, 7),
        (6.0, 7.0, 20.0, "a", 2, 7),  # a copy
        (8.0, 19.0, 40.0, "b", 3, 7),  # late, but known
        (9.0, 20.5, 60.0, "b", 4, 7),  # late, known within the request's own tile
        (11.0, 25.0, 99.0, "a", 5, 7),  # not known yet
        (12.0, 12.0, None, "a", 6, 7),
        (13.0, 12.0, 77.0, "a", 7, 7),  # known before it happened
        (14.0, 50.0, 77.0, "a", 8, 7),  # beyond the watermark
        (20.2, 20.3, 88.0, "a", 9, 7),  # in the open tile
        (6.0, 6.0, 55.0, "a", 10, 8),  # another zone
    ]
)
AT_US = to_epoch_us(T0.to_pydatetime()) + 21 * 60_000_000


def test_each_event_is_listed_with_its_outcome_and_the_counted_ones_make_the_value():
    found = provenance(VIEW, "x_mean_15m", {"events": EVENTS}, (7,), AT_US)
    assert [(share.value, share.outcome) for share in found.events] == [
        (20.0, "counted"),
        (20.0, "duplicate"),
        (40.0, "counted"),
        (60.0, "counted"),
        (99.0, "not known yet"),
        (None, "null value"),
        (77.0, "from the future"),
        (77.0, "beyond the watermark"),
        (88.0, "in the open tile"),
    ]
    assert found.value == 40.0
    assert [(tile.start[11:16], tile.events, tile.total) for tile in found.tiles] == [("12:05", 3, 120.0)]
    assert (found.since[11:16], found.until[11:16]) == ("12:05", "12:20")


def test_a_condition_that_is_not_met_is_named():
    found = provenance(VIEW, "of_a_15m", {"events": EVENTS}, (7,), AT_US)
    outcomes = [share.outcome for share in found.events]
    assert outcomes.count("condition not met") == 2
    assert found.value == outcomes.count("counted") == 2


def test_an_entity_without_events_has_none_to_show():
    found = provenance(VIEW, "x_mean_15m", {"events": EVENTS}, (99,), AT_US)
    assert (found.value, found.events, found.tiles) == (None, (), ())


def test_every_value_of_many_moments_is_made_of_what_is_listed(trips):
    view = FeatureView(
        "v", Entity("zone", keys=("do_zone",)), "trips", "dropoff_at", [mean("speed_kmh", scale=1000).over("2h")]
    )
    for at in trips["pickup_at"].iloc[1000::700]:
        found = provenance(view, "speed_kmh_mean_2h", {"trips": trips}, (3,), to_epoch_us(at.to_pydatetime()))
        counted = [round(share.value * 1000) for share in found.events if share.outcome == "counted"]
        assert found.value == (sum(counted) / (1000 * len(counted)) if counted else None)


def test_wrong_questions_say_so():
    with pytest.raises(NotFound, match="has no feature 'y'"):
        provenance(VIEW, "y", {"events": EVENTS}, (7,), AT_US)
    with pytest.raises(InvalidInput, match="was given 2 keys"):
        provenance(VIEW, "x_mean_15m", {"events": EVENTS}, (7, 8), AT_US)
