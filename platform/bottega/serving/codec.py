"""Tensors of the Open Inference Protocol as JSON: strict on the way in, exact on the way out."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bottega.errors import InvalidInput, TooLarge, Unsupported
from bottega.serving.protocol import DATATYPES, InferRequest, RequestInput, RequestOutput
from bottega.serving.repeats import refuse_repeats, request_colons

MAX_DIMENSIONS = 16
MAX_ELEMENTS = 1 << 26
_REQUEST = msgspec.json.Decoder(InferRequest)
_ELEMENT: dict[str, type] = {"b": bool, "u": int, "i": int, "f": float, "O": str}


def decode_request(body: bytes | memoryview) -> InferRequest:
    """The request in a JSON body, its tensors still undecoded. Raises InvalidInput with the reason."""
    if not body:
        raise InvalidInput("The body is empty.", next_step="Send a JSON object with 'inputs'.")
    try:
        request = _REQUEST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not an inference request: {json_reason(error)}.") from None
    refuse_repeats(body, request_colons(request))
    names: set[str] = set()
    for tensor in request.inputs:
        if tensor.name in names:
            raise InvalidInput(f"The input {tensor.name!r} is given more than once.")
        names.add(tensor.name)
    return request


def json_reason(error: Exception) -> str:
    """Why a body could not be decoded, in words that fit one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error).rstrip(".")


def numpy_type(tensor: RequestInput) -> np.dtype:
    """The dtype of an input. Raises InvalidInput for a datatype that the protocol does not have."""
    if tensor.datatype not in DATATYPES:
        raise InvalidInput(
            f"Input {tensor.name!r} has datatype {tensor.datatype!r}.",
            next_step=f"Datatypes are {', '.join(DATATYPES)}.",
        )
    return DATATYPES[tensor.datatype]


def element_count(tensor: RequestInput) -> int:
    """Number of elements by the shape. Raises InvalidInput for a shape that no tensor can have."""
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise InvalidInput(f"Input {tensor.name!r} has {len(tensor.shape)} dimensions; {MAX_DIMENSIONS} is the limit.")
    if any(size < 0 for size in tensor.shape):
        raise InvalidInput(f"Input {tensor.name!r} has shape {tensor.shape}; a dimension cannot be negative.")
    count = math.prod(tensor.shape)
    if count > MAX_ELEMENTS:
        raise TooLarge(
            f"Input {tensor.name!r} has shape {tensor.shape}: {count} elements; {MAX_ELEMENTS} is the limit."
        )
    return count


def decode_tensor(tensor: RequestInput) -> np.ndarray:
    """The array of an input with JSON data, flat or nested, of exactly its shape and datatype."""
    dtype, count = numpy_type(tensor), element_count(tensor)
    text = bytes(tensor.data)
    if not text:
        raise InvalidInput(f"Input {tensor.name!r} has no data.")
    depth = _depth(text)
    if depth not in (1, len(tensor.shape)):
        raise InvalidInput(
            f"Input {tensor.name!r} has data nested {depth} deep for shape {tensor.shape}.",
            next_step="Send it flat, or nested as its shape says.",
        )
    try:
        values = _decoder(_ELEMENT[dtype.kind], depth).decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"Input {tensor.name!r} ({tensor.datatype}): {json_reason(error)}.") from None
    array = _to_array(tensor, values, dtype)
    if depth == 1 and len(array) != count:
        raise InvalidInput(f"Input {tensor.name!r} has {len(array)} elements, its shape {tensor.shape} has {count}.")
    if depth > 1 and array.shape != tuple(tensor.shape):
        raise InvalidInput(f"Input {tensor.name!r} has data of shape {list(array.shape)}, not {tensor.shape}.")
    return array.reshape(tensor.shape)


def _depth(text: bytes) -> int:
    depth = 0
    for character in text[: 4 * MAX_DIMENSIONS]:
        if character == 0x5B:  # [
            depth += 1
        elif character not in b" \t\r\n":
            break
    return max(depth, 1)


@functools.cache
def _decoder(element: type, depth: int) -> msgspec.json.Decoder:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _to_array(tensor: RequestInput, values: list, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "O":
        return _text_array(tensor, values)
    try:
        if dtype.kind != "f":
            return np.array(values, dtype)
        with np.errstate(over="raise"):
            return np.array(values, dtype)
    except (OverflowError, FloatingPointError):
        raise InvalidInput(f"Input {tensor.name!r} has a value that does not fit {tensor.datatype}.") from None
    except ValueError:
        raise InvalidInput(f"Input {tensor.name!r} has ragged data: its rows differ in length.") from None


def _text_array(tensor: RequestInput, values: list) -> np.ndarray:
    shape: list[int] = []
    level = values
    while level and isinstance(level[0], list):
        shape.append(len(level))
        if any(len(row) != len(level[0]) for row in level):
            raise InvalidInput(f"Input {tensor.name!r} has ragged data: its rows differ in length.")
        level = [value for row in level for value in row]
    array = np.empty(len(level), object)
    array[:] = [value.encode() for value in level]
    return array.reshape([*shape, -1]) if shape and level else array


def encode_response(
    model: str,
    version: str,
    request_id: str,
    outputs: Sequence[tuple[str, str, np.ndarray]],
    parameters: Sequence[dict[str, Any] | None] = (),
) -> bytes:
    """The JSON body of an answer; `outputs` are (name, datatype, array).

    Where `parameters` names an output's `binary_data_size`, its data is left out: it follows the JSON.
    """
    tensors = []
    for i, (name, datatype, array) in enumerate(outputs):
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        extra = parameters[i] if i < len(parameters) else None
        if extra is None:
            tensor["data"] = _to_list(name, array)
        else:
            tensor["parameters"] = extra
        tensors.append(tensor)
    answer = {"model_name": model, "model_version": version, "outputs": tensors}
    if request_id:
        answer["id"] = request_id
    return msgspec.json.encode(answer)


def _to_list(name: str, array: np.ndarray) -> list:
    if array.dtype == object:
        try:
            return [v.decode() if isinstance(v, bytes) else v for v in array.ravel()]
        except UnicodeDecodeError:
            raise Unsupported(
                f"Output {name!r} is not UTF-8, so it has no JSON form.", next_step="Ask for it as binary data."
            ) from None
    return array.ravel().tolist()


def select_outputs(requested: Sequence[RequestOutput], known: Sequence[str]) -> list[str]:
    """Names of the outputs to answer, in the client's order; all where it asks for none."""
    names: list[str] = []
    for output in requested:
        if output.name not in known:
            raise InvalidInput(
                f"The model has no output {output.name!r}.", next_step=f"Its outputs are {', '.join(known)}."
            )
        if output.name in names:
            raise InvalidInput(f"The output {output.name!r} is asked for more than once.")
        names.append(output.name)
    return names or list(known)
