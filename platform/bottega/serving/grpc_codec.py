"""Messages of the gRPC protocol to and from the structures that every transport shares."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bottega.errors import InvalidInput
from bottega.serving.binary import decode_binary, encode_binary
from bottega.serving.codec import element_count, numpy_type
from bottega.serving.model import Described
from bottega.serving.proto import message
from bottega.serving.protocol import InferRequest, RequestInput, RequestOutput

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field that holds a datatype's elements; FP16 has none, it travels raw."""


def decode_infer(given: Any) -> tuple[InferRequest, dict[str, np.ndarray]]:
    """A ModelInferRequest as a request and its arrays. Raises InvalidInput with the tensor and the rule."""
    inputs = [
        RequestInput(one.name, list(one.shape), one.datatype, parameters(one.parameters) if one.parameters else {})
        for one in given.inputs
    ]
    outputs = [RequestOutput(one.name, parameters(one.parameters)) for one in given.outputs]
    request = InferRequest(inputs, given.id, outputs, parameters(given.parameters) if given.parameters else {})
    raw, arrays = given.raw_input_contents, dict[str, np.ndarray]()
    if raw and len(raw) != len(inputs):
        raise InvalidInput(f"The request has {len(inputs)} inputs and {len(raw)} raw contents.")
    for i, (tensor, sent) in enumerate(zip(inputs, given.inputs, strict=True)):
        if tensor.name in arrays:
            raise InvalidInput(f"The input {tensor.name!r} is given more than once.")
        if "shared_memory_region" in tensor.parameters:
            arrays[tensor.name] = np.empty(0)  # refused with its reason further on
        elif not raw:
            arrays[tensor.name] = _typed(tensor, sent.contents)
        elif sent.HasField("contents"):
            raise InvalidInput(f"The input {tensor.name!r} has contents beside the request's raw contents.")
        else:
            arrays[tensor.name] = decode_binary(tensor, memoryview(raw[i]))
    return request, arrays


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """A map of parameters as plain values."""
    found = {}
    for name, value in given.items():
        choice = value.WhichOneof("parameter_choice")
        found[name] = getattr(value, choice) if choice else None
    return found


def _typed(tensor: RequestInput, contents: Any) -> np.ndarray:
    dtype, count = numpy_type(tensor), element_count(tensor)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidInput(f"Input {tensor.name!r} is {tensor.datatype}.", next_step="Send it in raw_input_contents.")
    for other in set(_CONTENTS.values()) - {field}:
        if len(getattr(contents, other)):
            raise InvalidInput(f"Input {tensor.name!r} ({tensor.datatype}) has {other}; its elements go into {field}.")
    values = getattr(contents, field)
    if len(values) != count:
        raise InvalidInput(f"Input {tensor.name!r} has {len(values)} elements, its shape {tensor.shape} has {count}.")
    if dtype.kind == "O":
        array = np.empty(count, object)
        array[:] = list(values)
        return array.reshape(tensor.shape)
    wide = np.array(values, np.uint64 if field == "uint64_contents" else None) if count else np.empty(0, dtype)
    if dtype.kind in "iu" and count and (wide.min() < np.iinfo(dtype).min or wide.max() > np.iinfo(dtype).max):
        raise InvalidInput(f"Input {tensor.name!r} has a value that does not fit {tensor.datatype}.")
    return wide.astype(dtype).reshape(tensor.shape)


def encode_infer(described: Described, raw: bool) -> Any:
    """An answer as a ModelInferResponse: raw contents, or typed ones where the request had those."""
    model = described.model
    answer = message("ModelInferResponse")(model_name=model.name, model_version=model.version, id=described.id)
    raw = raw or any(datatype == "FP16" for _, datatype, _ in described.outputs)
    for name, datatype, array in described.outputs:
        tensor = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(encode_binary(array))
        else:
            getattr(tensor.contents, _CONTENTS[datatype]).extend(_elements(array))
    return answer


def _elements(array: np.ndarray) -> list[Any]:
    if array.dtype.kind == "O":
        return [value if isinstance(value, bytes) else value.encode() for value in array.ravel()]
    found: list[Any] = array.ravel().tolist()
    return found
