from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.features import plan, steps, tables
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Parts
from bottega.features.tables import Table
from bottega.schema import Field


@pytest.fixture
def pairs() -> Table:
    """Keys (1, 0), (2, 3), (0, 1): not all of the 3 x 4 places are taken."""
    keys = [np.array([1, 2, 0]), np.array([0, 3, 1])]
    return Table.from_keys(keys, {"km": np.array([1.5, 2.5, 3.5])}, {"km": -1.0})


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ((1, 0), 1.5),
        ((2, 3), 2.5),
        ((0, 1), 3.5),
        ((1, 1), -1.0),  # inside, but not there
        ((0, 4), -1.0),  # would be the place of (1, 0)
        ((1, -1), -1.0),  # would be the place of (0, 3)
        ((3, 0), -1.0),
        ((-1, 0), -1.0),
        ((2**40, 2**40), -1.0),
        ((-(2**63), 2**63 - 1), -1.0),
    ],
)
def test_a_table_answers_for_its_keys_and_has_a_default_for_all_others(pairs, key, expected):
    (found,) = pairs.read([np.array([key[0]]), np.array([key[1]])], ["km"])
    assert found.tolist() == [expected]


def test_a_table_reads_float_keys_only_where_they_are_whole(pairs):
    (found,) = pairs.read([np.array([1.0, np.nan, 1.5, np.inf]), np.zeros(4)], ["km"])
    assert found.tolist() == [1.5, -1.0, -1.0, -1.0]


def test_a_table_without_default_answers_nan_and_keeps_a_bound_beyond_its_keys():
    table = Table.from_keys([np.array([2])], {"x": np.array([7.0])}, sizes=[10])
    (found,) = table.read([np.array([2, 9, 10])], ["x"])
    np.testing.assert_array_equal(found, [7.0, np.nan, np.nan])
    assert len(table.known) == 10


@pytest.mark.parametrize(("keys", "sizes"), [([-1, 2], None), ([0, 5], [5])])
def test_a_table_refuses_keys_out_of_its_bounds(keys, sizes):
    with pytest.raises(InvalidInput, match="not in 0 to"):
        Table.from_keys([np.array(keys)], {"x": np.zeros(2)}, sizes=sizes)


def test_tables_come_back_from_npz_as_they_went(tmp_path, pairs):
    single = Table.from_keys([np.array([4])], {"a": np.array([1.0]), "b": np.array([2.0])}, {"a": 0.5})
    tables.save_tables(tmp_path / "tables.npz", {"pairs": pairs, "single": single})
    loaded = tables.load_tables(tmp_path / "tables.npz")
    assert loaded.keys() == {"pairs", "single"}
    for name, table in (("pairs", pairs), ("single", single)):
        again = loaded[name]
        assert again.strides == table.strides
        np.testing.assert_equal(again.defaults, table.defaults)
        np.testing.assert_array_equal(again.known, table.known)
        assert again.columns.keys() == table.columns.keys()
        for column in table.columns:
            np.testing.assert_array_equal(again.columns[column], table.columns[column])


@pytest.mark.parametrize("timezone", ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC"])
def test_calendar_parts_are_those_of_zoneinfo_across_clock_changes(timezone):
    changes = [datetime(2023, 3, 12, 7, tzinfo=UTC), datetime(2023, 11, 5, 6, tzinfo=UTC)]  # New York's
    near = [int(c.timestamp()) + d for c in changes for d in (-3601, -3600, -1, 0, 1, 3599, 3600, 7200)]
    anywhere = np.random.default_rng(3).integers(0, 2 * 10**9, 500).tolist()
    epoch_s = [*near, *(s for s in anywhere if s > 640_000_000)]  # clock changes are known from 1990 on
    outputs = {part: part for part in ("hour", "weekday", "minute_of_day", "hour_of_week")}
    found = steps.calendar_parts(np.array(epoch_s) * 1_000_000, timezone, outputs)
    local = [datetime.fromtimestamp(s, ZoneInfo(timezone)) for s in epoch_s]
    assert found["hour"].tolist() == [m.hour for m in local]
    assert found["weekday"].tolist() == [m.weekday() for m in local]
    assert found["minute_of_day"].tolist() == [m.hour * 60 + m.minute for m in local]
    assert found["hour_of_week"].tolist() == [m.weekday() * 24 + m.hour for m in local]


def test_an_unknown_calendar_part_names_those_there_are():
    with pytest.raises(InvalidInput, match=r"no calendar part 'month'\. Parts are hour"):
        steps.calendar_parts(np.array([0]), "UTC", {"m": "month"})


WEATHER = steps.Service("weather", "weather", ("zone",), "int32", ("temperature_c",), (None,), 0.25, 600)


@pytest.fixture
def eta() -> FeaturePlan:
    """A plan with every kind of step."""
    return FeaturePlan(
        request=(
            Field("zone", "INT32", known_in="zones", description="Zones are 0 to 2"),
            Field("at", "INT64", is_time=True),
        ),
        steps=(
            steps.Calendar("at", "UTC", {"hour": "hour"}),
            steps.Lookup("zones", ("zone",), {"area": "area_km2"}),
            steps.Online("traffic", ("zone",), "at", {"trips_1h": "count_1h"}),
            steps.External(WEATHER, ("zone",), "at", {"cold": "temperature_c"}),
            steps.Function("double", ("area", "hour"), ("twice_area", "twice_hour")),
            steps.Bucket("hour", (6.0, 12.0), "part"),
            steps.Stack(("twice_area", "trips_1h", "part"), "features"),
            steps.Model("features", ("eta_min", "low_min")),
        ),
        answer=(Field("eta_min", "FP32"), Field("low_min", "FP32")),
    )


@pytest.fixture
def parts() -> Parts:
    tables = {"zones": Table.from_keys([np.arange(3)], {"area_km2": np.array([1.0, 2.0, 4.0])})}

    def read_online(view, keys, at_us):
        assert view == "traffic"
        return {"count_1h": keys[0] * 10.0 + at_us * 0}

    def read_external(service, keys, at_us):
        assert service == WEATHER
        return {"temperature_c": keys[0] - 5.0 + at_us * 0}

    return Parts(tables, {"double": lambda a, b: (2 * a, 2 * b)}, read_online, lambda x: x[:, :2] + 1, read_external)


def test_steps_run_in_order_on_a_batch(eta, parts):
    columns = {"zone": np.array([2, 0]), "at": np.array([6, 5]) * 3_600_000_000}
    done = plan.run_steps(eta.steps, columns, parts)
    np.testing.assert_array_equal(done["features"], np.array([[8, 20, 1], [2, 0, 0]], np.float32))
    assert done["features"].dtype == np.float32
    assert done["twice_hour"].tolist() == [12.0, 10.0]
    assert done["cold"].tolist() == [-3.0, -5.0]
    assert done["eta_min"].tolist() == [9.0, 3.0]
    assert done["low_min"].tolist() == [21.0, 1.0]
    assert columns.keys() == {"zone", "at"}


def test_given_columns_replace_the_step_that_would_compute_them(eta, parts):
    def refuse(view, keys, at_us):
        raise AssertionError("the online store was read although its features were given")

    columns = {"zone": np.array([2]), "at": np.array([0])}
    offline = Parts(parts.tables, parts.functions, refuse, parts.predict)
    given = {"trips_1h": np.array([7.0]), "cold": np.array([0.0])}
    done = plan.run_steps(eta.before_model(), columns, offline, given)
    assert done["features"].tolist() == [[8.0, 7.0, 0.0]]
    assert "eta_min" not in done


def test_a_step_with_only_some_of_its_outputs_given_still_runs(eta, parts):
    columns = {"zone": np.array([2]), "at": np.array([0])}
    done = plan.run_steps(eta.before_model(), columns, parts, given={"twice_area": np.array([-1.0])})
    assert done["twice_area"].tolist() == [8.0]


def test_a_plan_comes_back_from_json_as_it_went(eta):
    assert msgspec.json.decode(msgspec.json.encode(eta), type=FeaturePlan) == eta


def test_a_plan_of_version_1_still_reads_and_a_newer_one_says_so(eta):
    old = FeaturePlan(eta.request, tuple(s for s in eta.steps if not isinstance(s, steps.External)), eta.answer, 1)
    written = msgspec.json.encode(old)
    assert b"external" not in written
    assert msgspec.json.decode(written, type=FeaturePlan) == old
    newer = written.replace(b'"version":1', b'"version":99')
    known = f"the plan has version 99, this Bottega knows up to {plan.PLAN_VERSION}"
    with pytest.raises(msgspec.ValidationError, match=known):
        msgspec.json.decode(newer, type=FeaturePlan)


def test_what_a_plan_looks_up_comes_from_stores_and_services(eta):
    assert eta.looked_up == ("trips_1h", "cold")


def test_a_plan_that_asks_a_service_says_so_where_there_is_none(eta, parts):
    alone = Parts(parts.tables, parts.functions, parts.read_online, parts.predict)
    with pytest.raises(InvalidInput, match="asks the service of the view 'weather', and there is no way to reach"):
        plan.run_steps(eta.before_model(), {"zone": np.array([2]), "at": np.array([0])}, alone)


def test_a_plan_names_its_features_and_splits_at_the_model(eta):
    assert eta.features == ("twice_area", "trips_1h", "part")
    assert eta.model().outputs == ("eta_min", "low_min")
    assert (*eta.before_model(), eta.model(), *eta.after_model()) == eta.steps


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"zone": np.array([1])}, "The field 'at' is missing"),
        ({"zone": np.array([1]), "at": np.array([0]), "fare": np.array([1])}, "'fare' is no field"),
        ({"zone": np.array([1, 3]), "at": np.array([0, 0])}, "zone 3 is unknown. Zones are 0 to 2."),
        ({"zone": np.array([-1]), "at": np.array([0])}, "zone -1 is unknown"),
    ],
)
def test_a_wrong_request_is_refused_with_the_rule(eta, parts, columns, message):
    with pytest.raises(InvalidInput, match=message):
        plan.check_request(eta, columns, parts.tables)


def test_a_right_request_passes(eta, parts):
    plan.check_request(eta, {"zone": np.array([0, 2]), "at": np.array([0, 1])}, parts.tables)
