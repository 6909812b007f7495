"""Events as records: every value comes back as it went, and a bad record is named and left out."""

import json
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InvalidInput
from bottega.eventlog.records import Refused, decode_rows, encode_rows

COLUMNS = {"zone": int, "fare": float, "paid": bool, "kind": str, "at": datetime}
INT64 = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.integers(-(2**61), 2**61)  # microseconds: the years -71000 to 75000
FLOATS = st.floats(allow_infinity=False, allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def frame(rows: list[tuple], missing: bool) -> pd.DataFrame:
    """A frame with the dtypes that `decode_rows` gives; `missing`: None among ints and booleans."""
    zone, fare, paid, kind, at = zip(*rows, strict=True) if rows else ((),) * 5
    moments = [np.iinfo(np.int64).min if moment is None else moment for moment in at]
    return pd.DataFrame(
        {
            "zone": pd.array(zone, dtype="Int64" if missing and None in zone else "int64"),
            "fare": np.array(fare, np.float64),
            "paid": pd.array(paid, dtype="boolean" if missing and None in paid else "bool"),
            "kind": pd.array(kind, dtype="str"),
            "at": pd.DatetimeIndex(np.array(moments, "datetime64[us]"), tz="UTC"),
        }
    )


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    np.testing.assert_array_equal(found["fare"].to_numpy().view(np.int64), expected["fare"].to_numpy().view(np.int64))


@given(st.lists(st.tuples(INT64, FLOATS, st.booleans(), TEXTS, MOMENTS), max_size=20))
def test_values_come_back_exactly(rows):
    expected = frame(rows, missing=False)
    decoded = decode_rows(encode_rows(expected), COLUMNS)
    assert decoded.refused == ()
    same(decoded.rows, expected)


@given(
    st.lists(st.tuples(*(st.none() | values for values in (INT64, FLOATS, st.booleans(), TEXTS, MOMENTS))), max_size=20)
)
def test_what_is_missing_comes_back_missing(rows):
    expected = frame(rows, missing=True)
    decoded = decode_rows(encode_rows(expected), COLUMNS)
    assert decoded.refused == ()
    pd.testing.assert_frame_equal(decoded.rows, expected, check_exact=True)


def test_records_are_plain_json():
    rows = frame([(7, 12.5, True, "cash", 1_700_000_000_123_456), (8, None, False, None, None)], missing=True)
    assert [json.loads(record) for record in encode_rows(rows)] == [
        {"zone": 7, "fare": 12.5, "paid": True, "kind": "cash", "at": 1_700_000_000_123_456},
        {"zone": 8, "fare": None, "paid": False, "kind": None, "at": None},
    ]


def test_a_single_event_is_the_same_record():
    at = datetime(2024, 1, 16, 13, 30, 0, 123456, tzinfo=UTC)
    single = msgspec.json.encode({"zone": 7, "fare": 12.5, "paid": True, "kind": "cash", "at": at})
    offset = b'{"zone":7,"fare":12.5,"paid":true,"kind":"cash","at":"2024-01-16T08:30:00.123456-05:00"}'
    whole = encode_rows(decode_rows([single], COLUMNS).rows)
    same(decode_rows([single, *whole, offset], COLUMNS).rows, decode_rows(whole * 3, COLUMNS).rows)


def test_other_dtypes_are_written_by_value():
    rows = pd.DataFrame(
        {
            "small": np.array([1, -2], np.int8),
            "unsigned": np.array([1, 2**63 - 1], np.uint64),
            "half": np.array([0.1, np.nan], np.float32),
            "extension": pd.array([0.25, None], dtype="Float64"),
            "object": pd.Series(["a", None], dtype=object),
            "local": pd.to_datetime(["2024-03-10T01:59:59.5-05:00", "2024-03-10T03:00:00.0-04:00"], utc=True)
            .tz_convert("America/New_York")
            .as_unit("ns"),
            "seconds": pd.to_datetime(["2024-01-01", None], utc=True).as_unit("s"),
        }
    )
    kinds = {
        "small": int,
        "unsigned": int,
        "half": float,
        "extension": float,
        "object": str,
        "local": datetime,
        "seconds": datetime,
    }
    found = decode_rows(encode_rows(rows), kinds).rows
    assert found["small"].tolist() == [1, -2]
    assert found["unsigned"].tolist() == [1, 2**63 - 1]
    assert found["half"][0] == np.float64(np.float32(0.1))
    assert found["half"].isna().tolist() == found["extension"].isna().tolist() == [False, True]
    assert found["object"].isna().tolist() == found["seconds"].isna().tolist() == [False, True]
    assert (found["local"] == rows["local"]).all()
    assert found["seconds"][0] == rows["seconds"][0]


def test_column_names_need_not_be_those_of_python():
    rows = pd.DataFrame({"from": [1], "a b": [2], "ü": [3], "c0": [4]})
    found = decode_rows(encode_rows(rows), dict.fromkeys(["c0", "ü", "a b", "from", "absent"], int)).rows
    assert found.drop(columns="absent").iloc[0].to_dict() == {"c0": 4, "ü": 3, "a b": 2, "from": 1}
    assert found["absent"].isna().all()


def test_bad_records_are_named_and_the_others_read():
    bad = {
        0: (b"", "truncated"),
        2: (b'{"zone":1', "truncated"),
        3: (b'"at":1}', "Expected `object`, got `str`"),
        4: (b"[1, 2]", "Expected `object`, got `array`"),
        5: (b"17", "Expected `object`, got `int`"),
        7: (b'{"zone":"1"}', r"Expected `int | null`, got `str` - at `$.zone`"),
        8: (b'{"zone":1.5}', "got `float` - at `$.zone`"),
        9: (b'{"zone":9223372036854775808}', "<= 9223372036854775807"),
        10: (b'{"fare":NaN}', "malformed"),
        11: (b'{"fare":1e999}', "Number out of range"),
        12: (b'{"kind":"\xff"}', "'utf-8' codec can't decode"),
        13: (b'{"at":"2024-01-01T00:00:00"}', "timezone"),
        14: (b'{"at":"yesterday"}', "Invalid RFC3339"),
        15: (b'{"paid":1}', "Expected `bool | null`, got `int`"),
        16: (b'{"zone":1}{"zone":2}', "trailing characters"),
        17: (b'{"zone":1},{"zone":2}', "trailing characters"),
        18: (b'{"other":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "maximum recursion depth exceeded"),
    }
    records = [bad[i][0] if i in bad else b'{"zone":%d}' % i for i in range(20)]
    decoded = decode_rows(records, COLUMNS)
    assert [refused.position for refused in decoded.refused] == sorted(bad)
    for refused in decoded.refused:
        assert bad[refused.position][1] in refused.reason
    good = [i for i in range(20) if i not in bad]
    assert decoded.rows.index.tolist() == good
    assert decoded.rows["zone"].tolist() == good


def test_all_or_none_may_be_bad():
    assert decode_rows([], COLUMNS).rows.dtypes.astype(str).to_dict() == {
        "zone": "int64",
        "fare": "float64",
        "paid": "bool",
        "kind": "str",
        "at": "datetime64[us, UTC]",
    }
    decoded = decode_rows([b"x", b"y"], {"zone": int})
    assert decoded.rows.empty
    assert decoded.refused[1] == Refused(1, "JSON is malformed: invalid character (byte 0)")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2024-01-01"]), r"'x' of type datetime64\[.*\] without a zone cannot be written"),
        (pd.to_datetime(["2024-01-01T00:00:00.000000001Z"]), "finer than 1 us"),
        ([np.inf], "infinite"),
        (np.array([2**63], np.uint64), "beyond int64"),
        (pd.array([None, 2**63], dtype="UInt64"), "beyond int64"),
        (pd.Series([{}], dtype=object), "of type object cannot be written"),
        (pd.Series(["a", b"b"], dtype=object), "of type object cannot be written"),
        (pd.to_timedelta(["1s"]), "cannot be written"),
        ([1j], "cannot be written"),
        (pd.Series(["\ud800"], dtype=object), "not valid Unicode"),
        (pd.Categorical(["a"]), "of type category cannot be written"),
    ],
)
def test_columns_that_json_cannot_hold_are_refused(column, message):
    with pytest.raises(InvalidInput, match=message):
        encode_rows(pd.DataFrame({"x": column}))


def test_tables_without_names_are_refused():
    with pytest.raises(InvalidInput, match="a name of its own"):
        encode_rows(pd.DataFrame(index=range(3)))
    with pytest.raises(InvalidInput, match="a name of its own"):
        encode_rows(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_type_that_no_event_has_is_refused():
    with pytest.raises(InvalidInput, match="Column 'zone' of an event cannot be <class 'bytes'>"):
        decode_rows([b"{}"], {"zone": bytes})
