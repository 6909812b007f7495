"""Whatever a body holds, it is understood or refused with a 4xx; nothing else is ever raised."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.schema import Field
from bottega.serving.binary import decode_body
from bottega.serving.fields import request_columns
from bottega.serving.protocol import DATATYPES
from bottega.serving.rows import decode_rows

PLAN = FeaturePlan(
    request=(
        Field("zone", "INT32"),
        Field("km", "FP32"),
        Field("kind", "BYTES"),
        Field("at", "INT64", is_time=True),
    ),
    steps=(),
    answer=(),
)
NAMES = st.sampled_from(["zone", "km", "kind", "at", "id", "ids", "rows", "inputs", "fare", ""])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.datetimes().map(lambda moment: moment.isoformat() + "+00:00")
    | st.sampled_from(["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00", "2024-01-16T08:30:00"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES | SCALARS,
        "datatype": st.sampled_from([*DATATYPES, "FP31"]) | SCALARS,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | st.lists(st.integers(), max_size=3) | VALUES,
    },
    optional={
        "data": st.lists(SCALARS, max_size=4) | VALUES,
        "parameters": st.dictionaries(st.just("binary_data_size"), st.integers(-1, 40) | SCALARS) | VALUES,
    },
)


def outcome(error: InvalidInput) -> None:
    assert 400 <= error.http_status < 500
    assert str(error)


@settings(max_examples=300, deadline=None)
@given(VALUES | st.binary(max_size=40), st.text(max_size=5))
def test_rows(value: object, header_id: str) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        rows = decode_rows(body, PLAN, header_id)
    except InvalidInput as error:
        outcome(error)
    else:
        assert {len(column) for column in rows.columns.values()} == {len(rows.ids)}


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=4)}, optional={"id": SCALARS, "outputs": VALUES})
    | VALUES,
    st.binary(max_size=40),
    st.booleans(),
)
def test_tensors(value: object, tail: bytes, is_binary: bool) -> None:
    header = json.dumps(value).encode()
    try:
        request, arrays = decode_body(header + tail, str(len(header)) if is_binary else None)
        columns = request_columns(PLAN, request, arrays)
    except InvalidInput as error:
        outcome(error)
    else:
        assert len({len(column) for column in columns.values()}) == 1
