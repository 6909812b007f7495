"""Binary tensors: the same arrays as JSON gives, and sizes that do not add up are refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bottega.errors import InvalidInput
from bottega.serving.binary import decode_body, encode_body
from bottega.serving.protocol import DATATYPES, InferRequest, RequestOutput


def body_of(inputs: list[dict], blobs: bytes) -> tuple[bytes, str]:
    header = json.dumps({"inputs": inputs}).encode()
    return header + blobs, str(len(header))


@given(
    st.sampled_from([name for name in DATATYPES if name != "BYTES"]).flatmap(
        lambda name: st.tuples(st.just(name), arrays.arrays(DATATYPES[name], arrays.array_shapes(max_dims=3)))
    )
)
def test_numbers_go_out_and_come_in_unchanged(case: tuple[str, np.ndarray]) -> None:
    datatype, array = case
    asked = InferRequest([], parameters={"binary_data_output": True})
    answer, header_length = encode_body("m", 1, asked, [("x", datatype, array)])
    assert header_length is not None
    output = json.loads(answer[:header_length])["outputs"][0]
    assert "data" not in output
    body, length = body_of([output], answer[header_length:])
    _, arrived = decode_body(body, length)
    np.testing.assert_array_equal(arrived["x"], array)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_bytes_go_out_and_come_in_unchanged(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    asked = InferRequest([], outputs=[RequestOutput("x", {"binary_data": True})])
    answer, header_length = encode_body("m", 1, asked, [("x", "BYTES", array)])
    assert header_length is not None
    body, length = body_of(json.loads(answer[:header_length])["outputs"], answer[header_length:])
    _, arrived = decode_body(body, length)
    assert arrived["x"].tolist() == values


def test_one_input_may_be_binary_and_another_json() -> None:
    body, length = body_of(
        [
            {"name": "a", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "INT32", "shape": [1], "data": [3]},
        ],
        np.array([1, 2], "<i4").tobytes(),
    )
    _, arrived = decode_body(body, length)
    assert arrived["a"].tolist() == [1, 2]
    assert arrived["b"].tolist() == [3]


def test_an_output_may_be_asked_for_in_json_beside_binary_ones() -> None:
    asked = InferRequest(
        [], outputs=[RequestOutput("a", {"binary_data": False})], parameters={"binary_data_output": True}
    )
    answer, header_length = encode_body("m", 1, asked, [("a", "INT32", np.array([1], np.int32))])
    assert header_length is None
    assert json.loads(answer)["outputs"][0]["data"] == [1]


FP32 = {"name": "x", "datatype": "FP32", "shape": [2]}


@pytest.mark.parametrize(
    ("inputs", "blobs", "length", "reason"),
    [
        ([{**FP32, "parameters": {"binary_data_size": 8}}], b"1234", None, "4 bytes of the body are left"),
        ([{**FP32, "parameters": {"binary_data_size": 4}}], b"1234", None, "takes 8"),
        ([{**FP32, "parameters": {"binary_data_size": -4}}], b"1234", None, "binary_data_size -4"),
        ([{**FP32, "parameters": {"binary_data_size": True}}], b"1234", None, "binary_data_size True"),
        ([{**FP32, "parameters": {"binary_data_size": "8"}}], b"12345678", None, "binary_data_size '8'"),
        ([{**FP32, "parameters": {"binary_data_size": 8}}], b"123456789", None, "1 bytes more"),
        ([{**FP32, "parameters": {"binary_data_size": 8}, "data": [1, 2]}], b"12345678", None, "both"),
        ([FP32], b"", None, "no data"),
        ([FP32], b"", "99999", "Inference-Header-Content-Length"),
        ([FP32], b"", "-1", "Inference-Header-Content-Length"),
        ([FP32], b"", "x", "Inference-Header-Content-Length"),
        ([FP32], b"", "²", "Inference-Header-Content-Length"),
        (
            [{"name": "x", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 5}}],
            b"\x01\0\0\0a",
            None,
            "exactly 2 elements",
        ),
        (
            [{"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}],
            b"\xff\xff\xff\xffa",
            None,
            "exactly 1 elements",
        ),
        (
            [{"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}],
            b"\x01\0\0\0ab",
            None,
            "exactly 1 elements",
        ),
    ],
)
def test_sizes_that_do_not_add_up_are_refused(
    inputs: list[dict], blobs: bytes, length: str | None, reason: str
) -> None:
    body, true_length = body_of(inputs, blobs)
    with pytest.raises(InvalidInput) as caught:
        decode_body(body, length or true_length)
    assert reason in str(caught.value)
