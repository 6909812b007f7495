"""Values come to their declared type exactly, or are told apart as wrong or as no moment."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.datasets.catalog import Column
from bottega.datasets.ingest.convert import convert
from bottega.errors import InvalidData

NEW_YORK = "America/New_York"


def told(values, form, kind, timezone=""):
    """Each value after conversion: its value, None, "wrong" or "local"."""
    found = convert(values, form, Column("c", kind), timezone)
    pairs = zip(found.values.to_pylist(), found.wrong, found.local, strict=True)
    return ["wrong" if wrong else "local" if local else value for value, wrong, local in pairs]


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("integer", ["7", " 7 ", "+7", "-0", "7.0", "", None], [7, 7, 7, 0, 7, None, None]),
        ("integer", ["7.5", "NA", "1e3", "0x1", "1_0", "٣"], ["wrong"] * 6),
        ("integer", ["9223372036854775807", "9223372036854775808"], [2**63 - 1, "wrong"]),
        ("integer", ["9007199254740993", ""], [2**53 + 1, None]),  # exact beside a null
        ("number", ["7", "1e5", ".5", "5.", "-.5e-3", ""], [7.0, 1e5, 0.5, 5.0, -5e-4, None]),
        ("number", ["nan", "inf", "1e999", "1_0", "1,5"], ["wrong"] * 5),
        ("text", ["NA", "null", " x ", "007", ""], ["NA", "null", " x ", "007", None]),
        ("bool", ["true", "False", "YES", "0", "2", ""], [True, False, True, False, "wrong", None]),
    ],
)
def test_text_is_parsed(kind, texts, expected):
    assert told(pa.array(texts, pa.string()), "text", kind) == expected


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("integer", [1, 2.0, None, 2**53 + 1, -(2**63)], [1, 2, None, 2**53 + 1, -(2**63)]),
        ("integer", [True, 1.5, "1", 2**63, 1e300, [1]], ["wrong"] * 6),
        ("number", [1, 1.5, None], [1.0, 1.5, None]),
        ("number", [True, "1", 2**2000], ["wrong"] * 3),
        ("text", ["a", "", None, 1, {}], ["a", "", None, "wrong", "wrong"]),
        ("bool", [True, None, 1, "true"], [True, None, "wrong", "wrong"]),
        ("time", [5, "yesterday", "2025-01-01T00:00"], ["wrong", "wrong", "local"]),
    ],
)
def test_json_must_be_of_the_type_already(kind, values, expected):
    assert told(values, "json", kind) == expected


def test_events_may_give_times_in_microseconds():
    moment = datetime(1970, 1, 1, 0, 0, 0, 5, UTC)
    assert told([5, "1970-01-01T00:00:00.000005Z", 2**70, True], "event", "time") == [moment, moment, "wrong", "wrong"]


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        ("integer", pa.array([1.0, None, np.nan, 1.5]), [1, None, None, "wrong"]),
        ("integer", pa.array([2**63, 1], pa.uint64()), ["wrong", 1]),
        ("integer", pa.array([2**53 + 1, None]), [2**53 + 1, None]),
        ("number", pa.array([1, None]), [1.0, None]),
        ("number", pa.array([np.inf, np.nan, 1.0]), ["wrong", None, 1.0]),
        ("text", pa.array(["a", None]).dictionary_encode(), ["a", None]),
        ("bool", pa.array([None, None]), [None, None]),
    ],
)
def test_parquet_columns_are_cast_where_nothing_is_lost(kind, column, expected):
    assert told(column, "typed", kind) == expected


@pytest.mark.parametrize(
    ("kind", "column", "what"),
    [
        ("integer", pa.array(["1"]), "is string; it is declared integer"),
        ("number", pa.array([True]), "is bool; it is declared number"),
        ("text", pa.array([1]), "is int64; it is declared text"),
        ("time", pa.array([1]), "is int64; it is declared time"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused_as_a_whole(kind, column, what):
    with pytest.raises(InvalidData, match=f"a.parquet: the column 'c' {what}"):
        convert(column, "typed", Column("c", kind), "", "a.parquet")


def test_moments_and_wall_clocks():
    texts = ["2025-12-31T10:00Z", "2025-12-31 10:00:00.123456789+02:00", "9999-12-31T23:59:59Z", "2025-12-31"]
    moments = [datetime(2025, 12, 31, 10, tzinfo=UTC), datetime(2025, 12, 31, 8, 0, 0, 123456, UTC)]
    assert told(pa.array(texts), "text", "time") == [*moments, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "wrong"]
    clock = ["2025-07-01T12:00", "2025-11-02T01:30", "2025-03-09T02:30"]  # plain, shown twice, skipped
    assert told(pa.array(clock), "text", "time") == ["local"] * 3
    expected = [datetime(2025, 7, 1, 16, tzinfo=UTC), datetime(2025, 11, 2, 5, 30, tzinfo=UTC), "local"]
    assert told(pa.array(clock), "text", "time", NEW_YORK) == expected
    typed = pa.array(np.array(clock, "datetime64[ns]"))
    assert told(typed, "typed", "time", NEW_YORK) == expected
    assert told(typed, "typed", "time") == ["local"] * 3


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_are_exact_in_every_form(numbers):
    texts = pa.array([None if one is None else str(one) for one in numbers], pa.string())
    assert told(texts, "text", "integer") == numbers
    assert told(numbers, "json", "integer") == numbers
    assert told(pa.array(numbers, pa.int64()), "typed", "integer") == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_as_text_bit_for_bit(numbers):
    texts = pa.array([repr(one) for one in numbers], pa.string())
    assert np.array_equal(np.array(told(texts, "text", "number")), np.array(numbers))
    assert told(numbers, "json", "number") == numbers
