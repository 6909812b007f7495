"""JSON tensors: what numpy would hold is what arrives, and everything else is refused with a reason."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bottega.errors import InvalidInput, TooLarge
from bottega.serving.codec import decode_request, decode_tensor, encode_response, select_outputs
from bottega.serving.protocol import DATATYPES, RequestOutput, check_name


def tensor(datatype: str, shape: list[int], data: object) -> np.ndarray:
    body = {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}
    return decode_tensor(decode_request(json.dumps(body).encode()).inputs[0])


@given(
    st.sampled_from([name for name in DATATYPES if name != "BYTES"]).flatmap(
        lambda name: st.tuples(
            st.just(name),
            arrays.arrays(
                DATATYPES[name],
                arrays.array_shapes(max_dims=3, max_side=4),
                elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
            ),
            st.booleans(),
        )
    )
)
def test_every_numeric_array_survives_the_way_through_json(case: tuple[str, np.ndarray, bool]) -> None:
    datatype, array, nested = case
    arrived = tensor(datatype, list(array.shape), (array if nested else array.ravel()).tolist())
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)
    answer = json.loads(encode_response("m", 1, "", [("x", datatype, array)]))["outputs"][0]
    np.testing.assert_array_equal(tensor(datatype, answer["shape"], answer["data"]), array)


def test_text_arrives_as_bytes() -> None:
    np.testing.assert_array_equal(
        tensor("BYTES", [2, 2], [["a", "ü"], ["", "d"]]),
        np.array([[b"a", "ü".encode()], [b"", b"d"]], object),
    )


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "reason"),
    [
        ("INT32", [1], [2**31], "does not fit INT32"),
        ("INT32", [1], [-(2**31) - 1], "does not fit INT32"),
        ("INT32", [1], [10**30], "does not fit INT32"),
        ("UINT8", [1], [-1], "does not fit UINT8"),
        ("INT32", [1], [1.5], "Expected `int`, got `float`"),
        ("INT32", [1], [None], "got `null`"),
        ("INT32", [1], ["1"], "got `str`"),
        ("INT32", [1], [True], "got `bool`"),
        ("FP32", [1], [True], "got `bool`"),
        ("FP32", [1], [1e39], "does not fit FP32"),
        ("FP16", [1], [70000], "does not fit FP16"),
        ("BOOL", [1], [1], "Expected `bool`, got `int`"),
        ("BYTES", [1], [1], "got `int`"),
        ("FP32", [2], [1], "has 1 elements, its shape [2] has 2"),
        ("FP32", [2, 2], [[1, 2], [3]], "ragged"),
        ("BYTES", [2, 2], [["a", "b"], ["c"]], "ragged"),
        ("FP32", [2, 2], [[1, 2]], "shape [1, 2], not [2, 2]"),
        ("FP32", [1, 1], [[[1]]], "nested 3 deep"),
        ("FP32", [-1], [1], "cannot be negative"),
        ("FP32", [2**40], [1], "the limit"),
        ("FP32", [1] * 17, [1], "17 dimensions"),
        ("FP31", [1], [1], "Datatypes are BOOL"),
        ("FP32", [1], {"a": 1}, "Expected `array`"),
        ("FP32", [1], 1, "Expected `array`"),
        ("FP32", [1], "[1]", "Expected `array`"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(
    datatype: str, shape: list[int], data: object, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        tensor(datatype, shape, data)
    assert reason in str(caught.value)


@pytest.mark.parametrize("shape", [[1.5], ["1"], [True], [None], "1", {"a": 1}])
def test_a_shape_that_is_no_list_of_integers_is_refused(shape: object) -> None:
    with pytest.raises(InvalidInput, match="inputs"):
        tensor("FP32", shape, [1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"x", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": [], "input": []}', "unknown field `input`"),
        (b'{"inputs": [{"name": "x"}]}', "missing required field"),
        (b'{"inputs": [], "id": 7}', "Expected `str`"),
        (b'{"inputs": [], "parameters": {"x": "\xff"}}', "UTF-8"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Expected `object`, got `array`"),
        (b'{"inputs": [], "parameters": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "nested too deeply"),
        (
            b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
            "malformed",
        ),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_request(body)
    assert reason in str(caught.value)


def test_an_input_given_twice_is_refused() -> None:
    one = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    with pytest.raises(InvalidInput, match="more than once"):
        decode_request(json.dumps({"inputs": [one, one]}).encode())


def test_too_many_elements_is_a_413() -> None:
    with pytest.raises(TooLarge) as caught:
        tensor("FP32", [2**20, 2**20], [1])
    assert caught.value.http_status == 413


def test_outputs_come_in_the_order_asked_for() -> None:
    assert select_outputs([RequestOutput("b"), RequestOutput("a")], ["a", "b", "c"]) == ["b", "a"]
    assert select_outputs([], ["a", "b"]) == ["a", "b"]
    with pytest.raises(InvalidInput, match="no output 'd'"):
        select_outputs([RequestOutput("d")], ["a"])


@pytest.mark.parametrize("name", ["", "..", "a..b", "a/b", "a b", "ä", "x" * 129, "a\n", "%2e"])
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not the name"):
        check_name(name)


def test_ordinary_names_pass() -> None:
    assert check_name("eta_v2.1-raw") == "eta_v2.1-raw"
