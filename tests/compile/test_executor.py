"""The bound plan against `run_steps` and `check_request`, which define it: equal columns, equal errors."""

from collections.abc import Mapping

import numpy as np
import pytest

from bottega.compile.executor import bind_check, bind_steps
from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan, check_request, run_steps
from bottega.features.steps import (
    Bucket,
    Calendar,
    Columns,
    External,
    Function,
    Lookup,
    Model,
    Online,
    Parts,
    Service,
    Stack,
)
from bottega.features.tables import Table
from bottega.schema import Field

PARTS_OF_TIME = {"hour": "hour", "day": "weekday", "minute": "minute_of_day", "week": "hour_of_week"}
SERVICE = Service("weather", "weather", ("zone",), "int32", ("temperature_c", "rain_mm"), (None, 0.0), 0.25, 600)
PLAN = FeaturePlan(
    request=(
        Field("a", "INT32", known_in="one"),
        Field("b", "INT64"),
        Field("x", "FP64", minimum=-5, maximum=5),
        Field("at", "INT64", is_time=True),
        Field("note", "BYTES"),
    ),
    steps=(
        Calendar("at", "America/New_York", PARTS_OF_TIME),
        Calendar("at", "UTC", {"utc_hour": "hour"}),
        Lookup("one", ("a",), {"a_value": "value", "a_other": "other"}),
        Lookup("two", ("a", "b"), {"pair": "value"}),
        Lookup("three", ("hour", "b", "a"), {"triple": "value"}),
        Bucket("x", (-1.0, 0.0, 2.5), "band"),
        Bucket("pair", (0.0,), "pair_band"),
        Lookup("one", ("band",), {"of_band": "value"}),
        Online("view", ("a",), "at", {"seen": "count"}),
        External(SERVICE, ("a",), "at", {"warm": "temperature_c", "wet": "rain_mm"}),
        Function("mix", ("x", "band", "seen"), ("sum", "product")),
        Stack(("a", "b", "hour", "minute", "pair", "triple", "band", "seen", "sum"), "features"),
        Model("features", ("first", "second")),
        Function("mix", ("first", "second", "product"), ("answer", "other_answer")),
    ),
    answer=(Field("answer", "FP64"),),
)


def tables() -> dict[str, Table]:
    random = np.random.default_rng(0)
    grid = [g.ravel() for g in np.meshgrid(np.arange(24), np.arange(4), np.arange(6), indexing="ij")]
    some = random.random(len(grid[0])) < 0.6
    return {
        "one": Table.from_keys([np.array([1, 2, 4])], {"value": np.array([1.5, 2.5, 4.5]), "other": np.ones(3)}),
        "two": Table.from_keys(
            [np.array([1, 1, 2]), np.array([0, 3, 1])], {"value": np.array([-1.0, 2.0, 3.0])}, {"value": 9.0}
        ),
        "three": Table.from_keys([g[some] for g in grid], {"value": random.normal(size=some.sum())}, sizes=(24, 4, 6)),
    }


def online(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"count": keys[0] * 2.0 + at_us % 3}


def external(service: Service, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    assert service == SERVICE
    return {"temperature_c": keys[0] - 0.5, "rain_mm": at_us % 5 * 1.0}


def parts() -> Parts:
    def mix(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
        return x + y + z, x * y * z

    return Parts(tables(), {"mix": mix}, online, lambda features: features[:, 3:5] * np.float32(2), external)


def request(rows: int, seed: int) -> Columns:
    random = np.random.default_rng(seed)
    return {
        "a": random.choice(np.array([1, 2, 4], np.int32), rows),
        "b": random.integers(-2, 6, rows),
        "x": random.choice(np.array([-5, -1, -0.5, 0, 2.5, 2.500001, 5]), rows),
        "at": random.integers(1_500_000_000_000_000, 1_900_000_000_000_000, rows),
        "note": np.array(["a note"] * rows, object),
    }


@pytest.mark.parametrize("rows", [0, 1, 2, 50])
@pytest.mark.parametrize("seed", range(5))
def test_columns_equal_run_steps(rows: int, seed: int) -> None:
    columns = request(rows, seed)
    expected = run_steps(PLAN.steps, columns, parts())
    found = bind_steps(PLAN.steps, parts())(columns)
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        assert found[name].dtype == wanted.dtype, name
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


def test_keys_out_of_every_range() -> None:
    columns = request(7, 0) | {
        "a": np.array([0, 3, 5, -1, 2**31 - 1, -(2**31), 4], np.int32),
        "b": np.array([2**63 - 1, -(2**63), 4, -1, 0, 3, 1]),
    }
    expected = run_steps(PLAN.steps, columns, parts())
    bound = bind_steps(PLAN.steps, parts())
    for name, found in bound(columns).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
    for row in range(7):
        for name, found in bound({name: column[row : row + 1] for name, column in columns.items()}).items():
            np.testing.assert_array_equal(found, expected[name][row : row + 1], err_msg=name)


@pytest.mark.parametrize("key", [1.0, 1.5, -0.5, np.nan, np.inf, 1e300, 2.0, 3.0])
def test_keys_that_are_floats(key: float) -> None:
    steps = (Lookup("one", ("a",), {"value": "value"}),)
    bound = bind_steps(steps, parts())
    for column in (np.array([key]), np.array([key, 2.0])):
        expected = run_steps(steps, {"a": column}, parts())["value"]
        np.testing.assert_array_equal(bound({"a": column})["value"], expected)


def test_tables_cannot_be_written_through_an_answer() -> None:
    found = bind_steps((Lookup("one", ("a",), {"value": "value"}),), parts())({"a": np.array([1])})
    with pytest.raises(ValueError, match="read-only"):
        found["value"][0] = 0.0


def test_the_request_is_left_alone() -> None:
    columns = request(3, 0)
    before = dict(columns)
    bind_steps(PLAN.steps, parts())(columns)
    assert columns.keys() == before.keys()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"a": np.array([1, 3], np.int32)},
        {"a": np.array([1, -1], np.int32)},
        {"a": np.array([1, 10**6], np.int32)},
        {"x": np.array([0.0, 5.1])},
        {"x": np.array([0.0, -5.1])},
        {"x": np.array([0.0, np.nan])},
        {"x": np.array([0.0, np.inf])},
        {"b": None},
        {"more": np.zeros(2)},
    ],
)
def test_checks_equal_check_request(change: dict) -> None:
    columns = {name: value for name, value in (request(2, 1) | change).items() if value is not None}

    def outcome(check) -> str:
        try:
            check()
        except InvalidInput as error:
            return str(error)
        return "valid"

    expected = outcome(lambda: check_request(PLAN, columns, tables()))
    assert outcome(lambda: bind_check(PLAN, tables())(columns)) == expected
    assert (expected == "valid") == (not change)
