"""Repeated keys are found wherever they are, and nothing else is refused."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InvalidInput
from bottega.serving.protocol import InferRequest
from bottega.serving.repeats import count_colons, refuse_repeats, request_colons

keys = st.text(alphabet='ab:"\\ é', max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a:"\\{', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=4), st.booleans())
def test_a_value_without_repeats_passes(value: dict[str, object], plain: bool) -> None:
    refuse_repeats(json.dumps(value, ensure_ascii=plain).encode(), count_colons(value))


@given(st.dictionaries(keys, values, min_size=1, max_size=4), values, st.data())
def test_a_repeated_key_is_refused(value: dict[str, object], other: object, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    body = ("{" + json.dumps(key) + ":" + json.dumps(other) + "," + json.dumps(value)[1:]).encode()
    for text in (body, b'{"rows":[' + body + b"]}"):
        with pytest.raises(InvalidInput, match="given more than once"):
            refuse_repeats(text, count_colons(msgspec.json.decode(text)))


@pytest.mark.parametrize(
    "request_body",
    [
        {"inputs": []},
        {"inputs": [], "id": "a:b", "parameters": {"timeout": 1, "a": {"b": [1, {"c": "d:"}]}}},
        {"inputs": [{"name": "a:b", "datatype": "INT32", "shape": [1], "data": [1]}], "outputs": [{"name": "x:y"}]},
        {"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": ["12:30:00"]}]},
        {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}}]},
        {"inputs": [], "outputs": [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}]},
    ],
)
def test_usual_requests_are_known_to_have_no_repeats_without_a_second_look(request_body: dict[str, object]) -> None:
    text = msgspec.json.encode(request_body)
    assert text.count(b":") == request_colons(msgspec.json.decode(text, type=InferRequest))


def test_depth_is_no_failure() -> None:
    with pytest.raises(InvalidInput, match="too deeply"):
        refuse_repeats(b"[" * 100_000 + b"]" * 100_000, 1)
