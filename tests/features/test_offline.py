"""Training sets against a loop over all events, and the leaks that must not happen."""

import math
import tempfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.features import (
    Attribute,
    Entity,
    FeatureView,
    Source,
    StaticView,
    batches,
    binding,
    buckets,
    count,
    distinct,
    last,
    max,
    mean,
    min,
    stddev,
    sum,
)
from bottega.features.offline import TrainingSet

START_S = 1_710_000_000 // 300 * 300
ZONE = Entity("zone", keys=("zone",))


def every_aggregation(entity=ZONE, tile="5m", **options) -> FeatureView:
    features = [
        count().over("5m", "15m", "1h"),
        mean("x").over("5m", "1h"),
        sum("x").over("15m"),
        min("x").over("15m"),
        max("x").over("1h"),
    ]
    return FeatureView("v", entity, "events", "t", features, tile=tile, **options)


# Moments on tile edges, one microsecond beside them, and anywhere.
moments = st.builds(
    lambda tile, offset_us: (START_S + tile * 300) * 1_000_000 + offset_us,
    st.integers(0, 14),
    st.sampled_from([0, 0, 1, -1, 150_000_000, 299_999_999]),
)
zones = st.sampled_from([1, 1, 2, None])
values = st.one_of(st.none(), st.floats(-1000, 1000, width=32), st.integers(-3, 3).map(float))


def frame(rows: list[tuple], names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
    if "zone" in table:
        table["zone"] = table["zone"].astype("Int64")
    for name in table.columns.intersection(["t", "seen", "at"]):
        table[name] = pd.to_datetime(table[name].astype("int64"), unit="us", utc=True)
    return table.astype({"x": "float64"}) if "x" in table else table


def assert_same(found: pd.DataFrame, expected: dict[str, list[float]]) -> None:
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name].to_numpy(), np.array(column, float), err_msg=name)


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(st.tuples(zones, moments, values), max_size=25),
    labels=st.lists(st.tuples(zones, moments), min_size=1, max_size=8),
    ttl=st.sampled_from([None, "10m"]),
)
def test_values_are_those_of_a_loop_over_all_events(oracle, events, labels, ttl):
    view = every_aggregation(ttl=ttl)
    events_table, label_table = frame(events, ["zone", "t", "x"]), frame(labels, ["zone", "at"])
    found = TrainingSet(label_table, [f"v:{f.name}" for f in view.features], "at").compute(
        [view], {"events": events_table}
    )
    known = label_table.assign(zone=label_table["zone"].fillna(-1))
    assert_same(found, oracle(view, events_table, known, "at", ("zone",)))


@settings(max_examples=10, deadline=None)
@given(
    events=st.lists(st.tuples(zones, moments, moments, values), max_size=25),
    labels=st.lists(st.tuples(st.just(1), moments), min_size=1, max_size=8),
)
def test_an_event_counts_once_it_is_available(oracle, events, labels):
    view = every_aggregation(available_at="seen")
    events_table, label_table = frame(events, ["zone", "t", "seen", "x"]), frame(labels, ["zone", "at"])
    found = TrainingSet(label_table, [f"v:{f.name}" for f in view.features], "at").compute(
        [view], {"events": events_table}
    )
    assert_same(found, oracle(view, events_table, label_table, "at", ("zone",)))


@pytest.mark.parametrize("keys", [("pu_zone",), ("do_zone",), ("pu_zone", "do_zone"), ()])
@pytest.mark.parametrize("tile", ["5m", "1h"])
def test_every_kind_of_entity_agrees_with_the_loop(oracle, trips, keys, tile):
    features = [mean("speed_kmh").over("1h", "24h"), count().over("1h", "7d"), max("duration_min").over("2h")]
    view = FeatureView("v", Entity("e", keys), "trips", "dropoff_at", features, tile=tile)
    labels = trips.sample(40, random_state=1)
    found = TrainingSet(labels, [f"v:{f.name}" for f in view.features], "pickup_at").compute([view], {"trips": trips})
    assert_same(found, oracle(view, trips, labels, "pickup_at", keys))
    assert found["count_7d"].sum() > 0


def test_one_view_joins_on_several_key_columns_and_keeps_rows_order_and_index(oracle, trips):
    view = FeatureView("v", ZONE, "trips", "dropoff_at", [count().over("24h")], keys=("do_zone",))
    labels = trips.sample(200, random_state=2)
    labels = pd.concat([labels, labels.head(20)])  # the same label twice stays twice
    refs = {"pu": "v:count_24h@pu_zone", "do": "v:count_24h@do_zone"}
    found = TrainingSet(labels, refs, "pickup_at").compute([view], {"trips": trips})
    pd.testing.assert_frame_equal(found[labels.columns], labels)
    assert list(found.columns) == [*labels.columns, "pu", "do"]
    for column in ("pu", "do"):
        expected = oracle(view, trips, labels, "pickup_at", (f"{column}_zone",))["count_24h"]
        assert found[column].tolist() == expected


def test_text_keys_join(oracle):
    rng = np.random.default_rng(5)
    plates = np.array(["AB 1", "Zürich", "'; DROP TABLE trips; --", ""])
    t = pd.to_datetime(START_S + rng.integers(0, 7200, 200), unit="s", utc=True)
    events = pd.DataFrame({"plate": plates[rng.integers(0, 4, 200)], "t": t, "x": rng.normal(size=200)})
    view = every_aggregation(Entity("car", ("plate",), "string"))
    found = TrainingSet(events, [f"v:{f.name}" for f in view.features], "t").compute([view], {"events": events})
    assert_same(found, oracle(view, events, events, "t", ("plate",)))


def test_a_static_view_joins_by_key_alone():
    view = StaticView("areas", ZONE, "zones", [Attribute("area_km2", default=-1.0), "lat"])
    labels = pd.DataFrame({"zone": [2.0, None, 9.0, 1.0]})
    zones_table = pd.DataFrame({"zone": [1, 2], "area_km2": [3.0, 4.0], "lat": [40.1, None]})
    found = TrainingSet(labels, ["areas:area_km2", "areas:lat"]).compute([view], {"zones": zones_table})
    assert found["area_km2"].tolist() == [4.0, -1.0, -1.0, 3.0]
    np.testing.assert_array_equal(found["lat"], [np.nan, np.nan, np.nan, 40.1])


def test_no_events_and_no_labels_are_no_special_case():
    view = every_aggregation()
    refs = ["v:count_1h", "v:x_mean_1h"]
    events, labels = frame([], ["zone", "t", "x"]), frame([(1, START_S * 10**6)], ["zone", "at"])
    found = TrainingSet(labels, refs, "at").compute([view], {"events": events})
    assert found["count_1h"].tolist() == [0.0]
    assert math.isnan(found["x_mean_1h"][0])
    empty = TrainingSet(labels.head(0), refs, "at").compute([view], {"events": events})
    assert list(empty.columns) == ["zone", "at", "count_1h", "x_mean_1h"]
    assert len(empty) == 0


def test_values_slide_when_no_event_comes(trips):
    view = FeatureView(
        "v",
        ZONE,
        "trips",
        "dropoff_at",
        [count().over("1h", "7d"), mean("speed_kmh").over("1h", "7d")],
        keys=("do_zone",),
    )
    last = trips["dropoff_at"].max()
    labels = pd.DataFrame({"zone": [1, 1, 1], "at": [last, last + pd.Timedelta("1D"), last + pd.Timedelta("8D")]})
    found = TrainingSet(labels, [f"v:{f.name}" for f in view.features], "at").compute([view], {"trips": trips})
    assert found["count_7d"][1] > 0
    assert found["count_1h"].tolist()[1:] == [0.0, 0.0]
    assert found["count_7d"][2] == 0.0
    assert math.isnan(found["speed_kmh_mean_7d"][2])


# The leak: a feature made from the trip's own outcome.


@pytest.fixture
def pair_trips() -> pd.DataFrame:
    """600 trips, two for each pair of zones: a pair's mean duration is half the label itself."""
    rng = np.random.default_rng(8)
    n = 300
    pickup_s = START_S + np.sort(rng.integers(0, 6 * 3600, 2 * n))
    duration_s = rng.integers(120, 4000, 2 * n)
    return pd.DataFrame(
        {
            "pair": np.concatenate([rng.permutation(n), rng.permutation(n)]),
            "pickup_at": pd.to_datetime(pickup_s, unit="s", utc=True),
            "dropoff_at": pd.to_datetime(pickup_s + duration_s, unit="s", utc=True),
            "duration_min": duration_s / 60,
        }
    )


@pytest.mark.parametrize(
    "times", [{"event_time": "dropoff_at"}, {"event_time": "pickup_at", "available_at": "dropoff_at"}]
)
def test_the_outcome_of_a_trip_reaches_neither_its_own_row_nor_one_while_it_runs(pair_trips, times):
    planted = pair_trips.groupby("pair")["duration_min"].transform("mean")
    assert np.corrcoef(planted, pair_trips["duration_min"])[0, 1] > 0.6  # what a join without time would give
    view = FeatureView(
        "leak",
        Entity("pair", ("pair",)),
        "trips",
        features=[mean("duration_min").over("24h"), count().over("24h")],
        **times,
    )
    city = FeatureView("city", Entity("city"), "trips", features=[max("duration_min").over("24h")], **times)
    refs = ["leak:duration_min_mean_24h", "leak:count_24h", "city:duration_min_max_24h"]
    honest = TrainingSet(pair_trips, refs, "pickup_at").compute([view, city], {"trips": pair_trips})
    for at in pair_trips["pickup_at"].iloc[::60]:
        unknown_yet = pair_trips["dropoff_at"] > at
        poisoned = pair_trips.assign(duration_min=pair_trips["duration_min"].mask(unknown_yet, 1e6))
        rows = pair_trips["pickup_at"] == at
        again = TrainingSet(pair_trips[rows], refs, "pickup_at").compute([view, city], {"trips": poisoned})
        pd.testing.assert_frame_equal(again[refs_columns(refs)], honest.loc[rows, refs_columns(refs)])
    known = honest["duration_min_mean_24h"].notna()
    assert 50 < known.sum() < 300  # earlier trips of the pair are seen
    assert abs(np.corrcoef(honest["duration_min_mean_24h"][known], honest["duration_min"][known])[0, 1]) < 0.2


def refs_columns(refs: list[str]) -> list[str]:
    return [ref.partition(":")[2] for ref in refs]


def test_an_event_counts_from_the_first_tile_edge_after_it():
    view = FeatureView("v", ZONE, "events", "t", [count().over("5m")])
    at_us = [(START_S + s) * 10**6 for s in (0, 299, 300, 599, 600)]
    events, labels = frame([(1, START_S * 10**6)], ["zone", "t"]), frame([(1, us) for us in at_us], ["zone", "at"])
    found = TrainingSet(labels, ["v:count_5m"], "at").compute([view], {"events": events})
    assert found["count_5m"].tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]


def test_windows_are_hours_not_clock_hours_across_a_clock_change(oracle):
    """New York's clock skips 02:00 to 03:00 on 2024-03-10; an hour's window still holds 60 minutes."""
    local = pd.Series(pd.date_range("2024-03-10 00:30", "2024-03-10 05:30", freq="10min", tz="America/New_York"))
    events = pd.DataFrame({"zone": 1, "t": local, "x": np.arange(len(local)) * 1.0})
    view = every_aggregation()
    found = TrainingSet(events, ["v:count_1h", "v:x_mean_1h"], "t").compute([view], {"events": events})
    assert_same(found, {k: v for k, v in oracle(view, events, events, "t", ("zone",)).items() if k in found})
    assert set(found["count_1h"].iloc[7:]) == {6.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda v, e, lab: TrainingSet(lab, ["v:count_1h"], "at").compute([v], {}),
            "The source 'events' of view 'v' was not given",
        ),
        (
            lambda v, e, lab: TrainingSet(lab, ["v:count_1h"]).compute([v], {"events": e}),
            "label table has no column 'requested_at'",
        ),
        (lambda v, e, lab: TrainingSet(lab, ["v:count_1h@z"], "at").compute([v], {"events": e}), "has no column 'z'"),
        (
            lambda v, e, lab: TrainingSet(lab, {"at": "v:count_1h"}, "at").compute([v], {"events": e}),
            "have a column 'at' already",
        ),
        (
            lambda v, e, lab: TrainingSet(lab.assign(at=lab["at"].dt.tz_localize(None)), ["v:count_1h"], "at").compute(
                [v], {"events": e}
            ),
            "without a time zone",
        ),
        (lambda v, e, lab: TrainingSet(lab, "v:count_1h", "at"), r"are the text 'v:count_1h'. Give a list"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call, message):
    events, labels = (
        frame([(1, START_S * 10**6, 1.0)], ["zone", "t", "x"]),
        frame([(1, START_S * 10**6)], ["zone", "at"]),
    )
    with pytest.raises((NotFound, InvalidData, InvalidInput), match=message):
        call(every_aggregation(), events, labels)


def test_progress_names_the_views(trips):
    seen = []
    view = FeatureView("v", ZONE, "trips", "dropoff_at", [count().over("1h")], keys=("do_zone",))
    TrainingSet(trips.head(5), ["v:count_1h@do_zone"], "pickup_at").compute(
        [view], {"trips": trips}, progress=lambda *call: seen.append(call)
    )
    assert seen == [("join v", 0, 1), ("join", 1, 1)]


# All aggregations, with late, copied and disordered events, on every way through the engine.

EVERY = [
    count().over("5m", "1h"),
    mean("x").over("5m", "1h"),
    sum("x").over("15m"),
    min("x").over("15m", "1h"),
    max("x", default=-7.5).over("1h"),
    last("x").over("5m", "1h"),
    stddev("x").over("1h"),
    distinct("x", cap=3).over("5m", "1h"),
    count(where="x > 0", name="positive").over("1h"),
    last("x", where="kind == 'a'", name="x_last_a").over("1h"),
]
delays = st.sampled_from([0, 0, 0, 1, 200_000_000, 300_000_000, 900_000_000, 1_800_000_000, 1_800_000_001, -1])
rows = st.tuples(zones, moments, delays, values, st.sampled_from(["a", "b", None]), st.integers(0, 6))


def full(**options) -> FeatureView:
    given = {"source": "events", "event_time": "t", "available_at": "seen", "lateness": "30m"} | options
    return FeatureView("v", ZONE, features=EVERY, **given)


def event_frame(events: list[tuple]) -> pd.DataFrame:
    names = ["zone", "t", "seen", "x", "kind", "id"]
    table = pd.DataFrame([(z, t, t + d, x, kind, n) for z, t, d, x, kind, n in events], columns=names)
    table = table.astype({"zone": "Int64", "x": "float64", "id": "int64", "kind": "str"})
    for name in ("t", "seen"):
        table[name] = pd.to_datetime(table[name].astype("int64"), unit="us", utc=True)
    return table


@pytest.mark.parametrize("options", [{}, {"ttl": "10m"}, {"event_id": "id"}, {"lateness": "5m"}])
@settings(max_examples=15, deadline=None)
@given(
    events=st.lists(rows, max_size=25),
    labels=st.lists(st.tuples(zones, moments), min_size=1, max_size=8),
)
def test_every_aggregation_is_that_of_a_loop_over_what_was_known(oracle, options, events, labels):
    view = full(**options)
    table, asked = event_frame(events), frame(labels, ["zone", "at"])
    found = TrainingSet(asked, [f"v:{f.name}" for f in view.features], "at").compute([view], {"events": table})
    assert_same(found, oracle(view, table, asked.assign(zone=asked["zone"].fillna(-1)), "at", ("zone",)))


@pytest.fixture(scope="module")
def late_trips(trips) -> pd.DataFrame:
    """The trips, known when they end, with copies and out of order."""
    return pd.concat([trips, trips.sample(300, random_state=1)]).sample(frac=1, random_state=2, ignore_index=True)


LATE = FeatureView(
    "late",
    Entity("zone", ("zone",)),
    "trips",
    "pickup_at",
    [
        count().over("15m", "7d"),
        mean("speed_kmh").over("1h", "24h"),
        min("speed_kmh").over("24h"),
        last("speed_kmh").over("24h"),
        stddev("duration_min").over("24h"),
        distinct("do_zone", cap=8).over("1h", "24h"),
    ],
    keys=("pu_zone",),
    available_at="dropoff_at",
    event_id="trip_id",
    lateness="1h",
)
LATE_REFS = [f"late:{feature.name}@pu_zone" for feature in LATE.features]


def late_set(labels: pd.DataFrame, table, **options) -> pd.DataFrame:
    return TrainingSet(labels, LATE_REFS, "pickup_at").compute([LATE], {"trips": table}, **options)


def test_what_is_refused_is_told(oracle, trips, late_trips):
    told = {}
    found = late_set(trips.head(50), late_trips, refused=lambda view, counts: told.update({view: dict(counts)}))
    late = ((late_trips["dropoff_at"] - late_trips["pickup_at"]) > pd.Timedelta("1h")).sum()
    copies = (
        4300 - late - (late_trips.drop_duplicates("trip_id").eval("dropoff_at - pickup_at") <= pd.Timedelta("1h")).sum()
    )
    assert told == {"late": {"beyond the watermark": late, "duplicate": copies}}
    assert_same(found, oracle(LATE, late_trips, trips.head(50), "pickup_at", ("pu_zone",)))


def test_parquet_files_and_buckets_give_the_same_as_a_table_in_memory(trips, late_trips, tmp_path, monkeypatch):
    labels = trips.sample(300, random_state=3)
    expected = late_set(labels, late_trips)
    folder = tmp_path / "in"
    folder.mkdir()
    late_trips.iloc[:2000].to_parquet(folder / "a.parquet")
    late_trips.iloc[2000:].to_parquet(folder / "b.parquet")
    monkeypatch.setattr(batches, "BATCH_ROWS", 700)
    pd.testing.assert_frame_equal(late_set(labels, folder), expected)
    monkeypatch.setattr(buckets, "BYTES_AN_EVENT", 1_100_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen = []
    found = late_set(labels, [folder / "a.parquet", folder / "b.parquet"], progress=lambda *call: seen.append(call))
    pd.testing.assert_frame_equal(found, expected)
    assert ("windows of late", 4, 5) in seen
    assert not list(scratch.iterdir())


def test_broken_and_unequal_files_are_named(trips, tmp_path):
    with pytest.raises(NotFound, match="there is no file"):
        late_set(trips.head(5), tmp_path / "none.parquet")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(InvalidData, match=r"a\.parquet cannot be read as Parquet"):
        late_set(trips.head(5), tmp_path)
    trips.to_parquet(tmp_path / "a.parquet")
    trips.assign(speed_kmh="fast").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidData, match=r"speed_kmh is .*string in .*b\.parquet, but double in"):
        late_set(trips.head(5), tmp_path)
    trips.drop(columns="trip_id").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidData, match=r"b\.parquet has no column 'trip_id'"):
        late_set(trips.head(5), tmp_path)


def test_unknown_engines_and_sizes_are_refused(trips):
    with pytest.raises(InvalidInput, match=r"There is no engine 'presto'\. Engines are duckdb, spark"):
        late_set(trips.head(5), trips, engine="presto")
    with pytest.raises(InvalidInput, match="'much' is no size of memory"):
        late_set(trips.head(5), trips, memory_limit="much")


def test_a_sum_that_does_not_fit_is_refused(monkeypatch):
    view = FeatureView("v", ZONE, "events", "t", [sum("x", scale=1).over("1h")])
    monkeypatch.setattr(binding, "LARGEST", 2**62)
    labels = frame([(1, START_S * 10**6 + 600 * 10**6)], ["zone", "at"])
    many = frame([(1, START_S * 10**6, float(2**62))] * 3, ["zone", "t", "x"])
    with pytest.raises(InvalidData, match=r"a sum of 'x' does not fit 64 bits\. Declare a smaller scale"):
        TrainingSet(labels, ["v:x_sum_1h"], "at").compute([view], {"events": many})


two_sources = st.tuples(st.lists(rows, max_size=15), st.lists(rows, max_size=15))


@settings(max_examples=15, deadline=None)
@given(events=two_sources, labels=st.lists(st.tuples(zones, moments), min_size=1, max_size=8))
def test_several_sources_count_together_each_by_its_own_rules(oracle, events, labels):
    view = FeatureView(
        "v",
        ZONE,
        sources=[
            Source("events", "t", available_at="seen", event_id="id"),
            Source("others", "t", delay="7m", keys=("area",), columns={"x": "y"}),
        ],
        features=EVERY,
        lateness="30m",
    )
    one, other = map(event_frame, events)
    sources = {"events": one, "others": other.rename(columns={"zone": "area", "x": "y"})}
    asked = frame(labels, ["zone", "at"])
    found = TrainingSet(asked, [f"v:{f.name}" for f in view.features], "at").compute([view], sources)
    assert_same(found, oracle(view, sources, asked.assign(zone=asked["zone"].fillna(-1)), "at", ("zone",)))


def test_a_crowd_of_late_events_is_not_compared_with_a_crowd_of_labels(oracle):
    """20,000 events of one entity within an hour, all late, and as many labels: pairs of them would be 400 million."""
    rng = np.random.default_rng(9)
    t = START_S * 1_000_000 + rng.integers(0, 3_600_000_000, 20_000)
    table = pd.DataFrame(
        {
            "t": pd.to_datetime(t, unit="us", utc=True),
            "seen": pd.to_datetime(t + rng.integers(300_000_000, 1_800_000_000, 20_000), unit="us", utc=True),
            "x": rng.integers(-40, 40, 20_000) / 4,
            "kind": "a",
        }
    )
    view = FeatureView("v", Entity("city"), "events", "t", EVERY, available_at="seen", lateness="30m")
    found = TrainingSet(table, [f"v:{f.name}" for f in view.features], "t").compute([view], {"events": table})
    some = found.sample(5, random_state=1)
    assert_same(some, oracle(view, table, some, "t", ()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed_kmh": "fast"}, "the column 'speed_kmh' is str; it must be numbers"),
        ({"pu_zone": "zone 4"}, "the key 'pu_zone' is object; it must be whole numbers"),
        ({"pu_zone": 4.5}, "the key 'pu_zone' is float64; it must be whole numbers"),
        ({"pickup_at": pd.Timestamp("2024-03-06")}, "the time 'pickup_at' is .*, without a time zone"),
        ({"speed_kmh": np.inf}, "speed_kmh is inf; with scale 1000 it must lie within"),
    ],
)
def test_events_of_another_type_are_refused_also_in_files(trips, tmp_path, change, message):
    wrong = trips.head(20).assign(**change)
    wrong.to_parquet(tmp_path / "trips.parquet")
    for table in (wrong, tmp_path / "trips.parquet"):
        with pytest.raises(InvalidData, match=message):
            late_set(trips.head(5), table)


def test_labels_without_a_key_or_a_time_have_the_values_of_no_events(trips, late_trips):
    labels = trips.sample(40, random_state=3).astype({"pu_zone": "Int64"})
    labels.iloc[::2, labels.columns.get_loc("pu_zone")] = pd.NA
    found = late_set(labels, late_trips)
    assert (found["count_7d"].iloc[::2] == 0).all()
    assert found["speed_kmh_mean_1h"].iloc[::2].isna().all()
    full_keys = late_set(labels.iloc[1::2].astype({"pu_zone": "int64"}), late_trips)
    pd.testing.assert_frame_equal(found.iloc[1::2].astype({"pu_zone": "int64"}), full_keys)
    without_time = labels.iloc[1::2].assign(pickup_at=pd.NaT)
    without_time["pickup_at"] = without_time["pickup_at"].dt.tz_localize("UTC")
    assert (late_set(without_time, late_trips)["count_7d"] == 0).all()


def test_labels_far_in_the_past_and_in_the_future_stand_beside_the_others(oracle, trips, late_trips):
    labels = trips.head(4).assign(
        pickup_at=pd.to_datetime(["1980-01-01", "2024-03-08", "2024-03-09", "2199-01-01"], utc=True).as_unit("us")
    )
    assert_same(late_set(labels, late_trips), oracle(LATE, late_trips, labels, "pickup_at", ("pu_zone",)))
    seconds = FeatureView("v", Entity("city"), "trips", "dropoff_at", [count().over("1h")], tile="1s")
    with pytest.raises(InvalidData, match=r"labels span \d+ tiles.*at most 2147483647"):
        TrainingSet(labels, ["v:count_1h"], "pickup_at").compute([seconds], {"trips": trips})
