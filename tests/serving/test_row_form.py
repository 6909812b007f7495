"""The typed reader of single rows reads what the general one reads, and leaves to it what that one refuses."""

import json
from typing import Any

import pytest

from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Model, Stack
from bottega.schema import Field
from bottega.serving.row_form import RowForm
from bottega.serving.rows import decode_rows

STEPS = (Stack(("count",), "features"), Model("features", ("y",)))
PLAN = FeaturePlan(
    request=(
        Field("count", "INT32"),
        Field("big", "INT64"),
        Field("half", "FP32"),
        Field("whole", "FP64"),
        Field("is open", "BOOL"),
        Field("class", "BYTES"),
        Field("at", "INT64", is_time=True),
    ),
    steps=STEPS,
    answer=(Field("y", "FP32"),),
)
ROW = {
    "count": 7,
    "big": -(2**60),
    "half": 0.1,
    "whole": 3,
    "is open": True,
    "class": "über",
    "at": "2024-01-16T08:30:00-05:00",
}


def same(body: bytes, header_id: str = "") -> None:
    """Both readers give the same."""
    given, wanted = RowForm(PLAN).read(body, header_id), decode_rows(body, PLAN, header_id)
    assert given is not None
    assert given.single
    assert not given.explain
    assert list(given.columns) == list(wanted.columns)
    for name, column in wanted.columns.items():
        assert given.columns[name].dtype == column.dtype
        assert given.columns[name].tolist() == column.tolist()
    if header_id or b'"id"' in body:
        assert given.ids == wanted.ids


@pytest.mark.parametrize(
    "more",
    [{}, {"id": "mine"}, {"whole": -1.5e300}, {"count": 2**31 - 1}, {"big": -(2**63)}, {"at": "2024-07-01T00:00:00Z"}],
)
def test_rows_are_read_as_the_general_reader_does(more: dict[str, Any]) -> None:
    for header_id in ("", "theirs"):
        same(json.dumps({**ROW, **more}).encode(), header_id)


def test_each_row_without_an_id_gets_one_of_its_own() -> None:
    form, body = RowForm(PLAN), json.dumps(ROW).encode()
    found = [rows.ids for rows in (form.read(body), form.read(body)) if rows is not None]
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        json.dumps({"rows": [ROW]}).encode(),
        json.dumps({**ROW, "explain": True}).encode(),
        json.dumps({**ROW, "other": 1}).encode(),
        json.dumps({name: value for name, value in ROW.items() if name != "half"}).encode(),
        *(
            json.dumps({**ROW, **more}).encode()
            for more in (
                {"count": 2**31}, {"count": "7"}, {"count": True}, {"count": 1.5}, {"big": 2**63}, {"half": None},
                {"is open": 1}, {"class": 3}, {"at": "yesterday"}, {"at": "2024-01-16T08:30:00"}, {"id": 4},
            )
        ),
        json.dumps(ROW).replace("0.1", "1e999").encode(),
    ],
)  # fmt: skip
def test_what_is_of_another_form_is_left_to_the_general_reader(body: bytes) -> None:
    assert RowForm(PLAN).read(body) is None


@pytest.mark.parametrize("wrong", ["", "a" * 129, "a\nb"])
def test_an_id_that_none_can_be_is_refused_as_by_the_general_reader(wrong: str) -> None:
    body = json.dumps({**ROW, "id": wrong}).encode()
    with pytest.raises(InvalidInput) as general:
        decode_rows(body, PLAN)
    with pytest.raises(InvalidInput) as typed:
        RowForm(PLAN).read(body)
    assert str(typed.value) == str(general.value)


@pytest.mark.parametrize(
    "field",
    [Field("id", "BYTES"), Field("explain", "BOOL"), Field("rows", "INT32"), Field("x", "FP32", shape=(3,)),
     Field("photo", "BYTES", is_binary=True)],
)  # fmt: skip
def test_plans_with_other_fields_have_the_general_reader_alone(field: Field) -> None:
    plan = FeaturePlan(request=(Field("count", "INT32"), field), steps=STEPS, answer=PLAN.answer)
    assert RowForm(plan).read(b'{"count": 1, "id": "a", "explain": true, "rows": 1}') is None
