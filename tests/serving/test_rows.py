"""Plain JSON rows: typed columns in, typed answers out, and everything else refused with a reason."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from bottega.errors import InvalidInput, TooLarge
from bottega.features.plan import FeaturePlan
from bottega.schema import Field
from bottega.serving.explanation import Ages, Explanation
from bottega.serving.rows import MAX_ROWS, Rows, decode_rows, encode_answers, to_list

PLAN = FeaturePlan(
    request=(
        Field("zone", "INT32"),
        Field("km", "FP64"),
        Field("paid", "BOOL"),
        Field("kind", "BYTES"),
        Field("at", "INT64", is_time=True),
    ),
    steps=(),
    answer=(Field("eta_min", "FP32", unit="minutes"), Field("class", "INT32")),
)
ROW = {"zone": 74, "km": 1.5, "paid": True, "kind": "green", "at": "2024-01-16T08:30:00-05:00"}


def decode(value: object, header_id: str = "") -> Rows:
    return decode_rows(json.dumps(value).encode(), PLAN, header_id)


def test_one_object_is_one_row() -> None:
    rows = decode(ROW)
    assert rows.single
    assert {name: column.tolist() for name, column in rows.columns.items()} == {
        "zone": [74],
        "km": [1.5],
        "paid": [True],
        "kind": ["green"],
        "at": [1705411800_000000],
    }
    assert [column.dtype.name for column in rows.columns.values()] == ["int32", "float64", "bool", "object", "int64"]


def test_rows_keep_their_order_and_get_ids() -> None:
    rows = decode({"rows": [{**ROW, "zone": zone} for zone in (3, 1, 2)], "id": "trip"})
    assert rows.columns["zone"].tolist() == [3, 1, 2]
    assert rows.ids == ("trip-0", "trip-1", "trip-2")
    assert not rows.single


def test_ids_come_from_the_row_the_list_the_header_or_are_new() -> None:
    assert decode({**ROW, "id": "a"}, "header").ids == ("a",)
    assert decode(ROW, "header").ids == ("header",)
    assert decode({"rows": [{**ROW, "id": "a"}, ROW], "id": "r"}).ids == ("a", "r-1")
    assert decode({"rows": [ROW, ROW], "ids": ["x", "y"]}).ids == ("x", "y")
    assert decode({"rows": [ROW]}, "header").ids == ("header",)
    assert decode(ROW).ids != decode(ROW).ids


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([ROW], "Expected `object`, got `array`"),
        ("text", "Expected `object`"),
        (None, "Expected `object`"),
        ({}, "is missing"),
        ({**ROW, "colour": 1}, "'colour' is no field"),
        ({k: v for k, v in ROW.items() if k != "at"}, "'at' is missing"),
        ({**ROW, "zone": "74"}, "zone is '74'; it must be a number"),
        ({**ROW, "zone": None}, "zone is None"),
        ({**ROW, "zone": True}, "zone is True"),
        ({**ROW, "zone": 1.5}, "whole number"),
        ({**ROW, "zone": 2**31}, "must fit INT32"),
        ({**ROW, "zone": 10**400}, "INT32"),
        ({**ROW, "zone": [74]}, "must be a number"),
        ({**ROW, "km": 10**400}, "does not fit FP64"),
        ({**ROW, "paid": 1}, "true or false"),
        ({**ROW, "kind": 1}, "must be text"),
        ({**ROW, "at": "2024-01-16T08:30:00"}, "no offset from UTC"),
        ({**ROW, "at": "yesterday"}, "is not a time"),
        ({**ROW, "at": 1705411800}, "must be text"),
        ({**ROW, "at": "9999-12-31T23:59:59-23:00"}, "does not fit INT64"),
        ({**ROW, "id": 7}, "1 to 128 printable"),
        ({**ROW, "id": "x" * 129}, "1 to 128 printable"),
        ({**ROW, "id": "a\nb"}, "1 to 128 printable"),
        ({**ROW, "ids": ["a"]}, "'ids' is no field"),
        ({"rows": []}, "at least one object"),
        ({"rows": ROW}, "must be a list"),
        ({"rows": [ROW, 7]}, "Row 1 is no object"),
        ({"rows": [ROW, {**ROW, "colour": 1}]}, "'colour' of row 1 is no field"),
        ({"rows": [ROW, {}]}, "of row 1 is missing"),
        ({"rows": [ROW], "zone": 1}, "'zone' stands beside 'rows'"),
        ({"rows": [ROW], "ids": ["a", "b"]}, "list of 1 texts"),
        ({"rows": [ROW], "ids": "a"}, "list of 1 texts"),
        ({"rows": [ROW], "ids": [1]}, "1 to 128 printable"),
        ({"rows": [ROW, ROW], "ids": ["a", "a"]}, "the same id"),
        ({"rows": [{**ROW, "id": "a"}, {**ROW, "id": "a"}]}, "the same id"),
        ({"rows": [ROW], "id": 0}, "1 to 128 printable"),
    ],
)
def test_what_is_no_request_is_refused(value: object, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"zone": NaN}', b"[" * 100_000, b'{"a": "\xff"}', b"{}{}"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="zone, km, paid, kind, at"):
        decode_rows(body, PLAN)


def test_too_many_rows_is_a_413() -> None:
    with pytest.raises(TooLarge, match="the limit"):
        decode({"rows": [ROW] * (MAX_ROWS + 1)})


def test_whether_to_explain_stands_beside_the_fields_or_the_rows() -> None:
    assert decode({**ROW, "explain": True}).explain
    assert decode({"rows": [ROW], "explain": True}).explain
    assert not decode({"rows": [ROW], "explain": False}).explain
    assert not decode(ROW).explain


def test_answers_carry_units_version_ids_and_what_is_behind_them() -> None:
    answers = {"eta_min": np.array([12.3], np.float32), "class": np.array([2], np.int32)}
    ages: list[Ages] = [{"speed": 30.5, "trips": None}]
    told = [Explanation({"km": 3.5}, [])]
    assert json.loads(encode_answers("eta", 3, PLAN, decode({**ROW, "id": "a"}), answers, ages, told)) == {
        "usecase": "eta",
        "model_version": 3,
        "id": "a",
        "answer": {"eta_min": 12.3, "class": 2},
        "units": {"eta_min": "minutes"},
        "feature_ages_s": {"speed": 30.5, "trips": None},
        "explanation": {"inputs": {"km": 3.5}, "looked_up": []},
    }
    answers = {name: np.repeat(column, 2) for name, column in answers.items()}
    assert json.loads(encode_answers("eta", 3, PLAN, decode({"rows": [ROW, ROW], "id": "r"}), answers, ages * 2)) == {
        "usecase": "eta",
        "model_version": 3,
        "ids": ["r-0", "r-1"],
        "answers": [{"eta_min": 12.3, "class": 2}] * 2,
        "units": {"eta_min": "minutes"},
        "feature_ages_s": ages * 2,
    }


@given(arrays.arrays(np.float32, 5, elements={"allow_nan": False, "allow_infinity": False}))
def test_a_float32_reads_back_as_itself(column: np.ndarray) -> None:
    assert np.array(to_list(column), np.float32).tobytes() == column.tobytes()
