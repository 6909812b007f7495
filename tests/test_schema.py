import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.schema import Field


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        (Field("zone", "INT32"), [1, 2.0], np.array([1, 2], np.int32)),
        (Field("share", "FP64"), [0.5, 1], np.array([0.5, 1.0])),
        (Field("wet", "BOOL"), [True, False], np.array([True, False])),
        (Field("at", "INT64", is_time=True), ["1970-01-01T00:00:01Z"], np.array([1_000_000])),
    ],
)
def test_columns_from_json(field, values, expected):
    column = field.column(values)
    assert column.dtype == expected.dtype
    assert (column == expected).all()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        (Field("zone", "INT32"), "74", "must be a number"),
        (Field("zone", "INT32"), True, "must be a number"),
        (Field("zone", "INT32"), None, "must be a number"),
        (Field("zone", "INT32"), 1.5, "whole number"),
        (Field("zone", "INT32"), 2**31, "fit INT32"),
        (Field("share", "FP64"), float("inf"), "finite"),
        (Field("wet", "BOOL"), 1, "true or false"),
        (Field("name", "BYTES"), 1, "must be text"),
        (Field("at", "INT64", is_time=True), "2024-01-01T00:00", "no offset"),
        (Field("at", "INT64", is_time=True), 5, "must be text"),
    ],
)
def test_a_wrong_value_names_field_value_and_rule(field, value, rule):
    with pytest.raises(InvalidInput, match=rule):
        field.column([value])


def test_ranges():
    field = Field("share", "FP64", minimum=0, maximum=1)
    field.check(np.array([0.0, 1.0]))
    with pytest.raises(InvalidInput, match=r"share is 1.5; it must be at least 0 and at most 1"):
        field.check(np.array([0.5, 1.5]))
    with pytest.raises(InvalidInput, match="nan"):
        Field("x", "FP32").check(np.array([np.nan], np.float32))
