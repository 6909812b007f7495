"""The binary tensor extension of the Open Inference Protocol: raw little-endian tensors after the JSON header.

A body is a JSON header of `Inference-Header-Content-Length` bytes, then the data of each tensor that has a
`binary_data_size` parameter, in order. A BYTES element is its length (uint32, little-endian) and its bytes.
"""

import struct
from collections.abc import Sequence

import numpy as np

from bottega.errors import InvalidInput
from bottega.serving.codec import decode_request, decode_tensor, element_count, encode_response, numpy_type
from bottega.serving.protocol import InferRequest, RequestInput

_DIGITS = 12
"""Of a length; Python refuses to read very long numbers."""


def decode_body(body: bytes, header_length: str | None) -> tuple[InferRequest, dict[str, np.ndarray]]:
    """The request and its input arrays, JSON or binary. Raises InvalidInput with the reason."""
    length = len(body) if header_length is None else _header_length(header_length, len(body))
    request = decode_request(body[:length])
    view, at = memoryview(body), length
    arrays: dict[str, np.ndarray] = {}
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = decode_tensor(tensor)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(body) - at:
            raise InvalidInput(
                f"Input {tensor.name!r} has binary_data_size {size!r}, and {len(body) - at} bytes of the body are left."
            )
        arrays[tensor.name] = decode_binary(tensor, view[at : at + size])
        at += size
    if at != len(body):
        raise InvalidInput(f"The body has {len(body) - at} bytes more than its tensors declare.")
    return request, arrays


def _header_length(text: str, body_length: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS or int(text) > body_length:
        raise InvalidInput(f"Inference-Header-Content-Length is {text[:40]!r}, the body has {body_length} bytes.")
    return int(text)


def decode_binary(tensor: RequestInput, data: memoryview) -> np.ndarray:
    """The array of an input whose data came as raw bytes; numbers are a view, nothing is copied."""
    if bytes(tensor.data):
        raise InvalidInput(f"Input {tensor.name!r} has both JSON data and binary data.")
    dtype, count = numpy_type(tensor), element_count(tensor)
    if dtype.kind == "O":
        return _split_bytes(tensor, data, count).reshape(tensor.shape)
    if len(data) != count * dtype.itemsize:
        raise InvalidInput(
            f"Input {tensor.name!r} has {len(data)} bytes; {tensor.datatype} of shape {tensor.shape} takes "
            f"{count * dtype.itemsize}."
        )
    if dtype.kind == "b":
        return (np.frombuffer(data, np.uint8) != 0).reshape(tensor.shape)
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(tensor.shape)


def _split_bytes(tensor: RequestInput, data: memoryview, count: int) -> np.ndarray:
    array = np.empty(min(count, len(data)), object)
    at = found = 0
    while at + 4 <= len(data) and found < count:
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            break
        array[found] = bytes(data[at + 4 : at + 4 + length])
        at, found = at + 4 + length, found + 1
    if found != count or at != len(data):
        raise InvalidInput(f"Input {tensor.name!r}: the binary data does not hold exactly {count} elements of BYTES.")
    return array


def wants_binary(request: InferRequest, output: str) -> bool:
    """Whether the client asked for this output as binary data."""
    for requested in request.outputs:
        if requested.name == output and "binary_data" in requested.parameters:
            return requested.parameters["binary_data"] is True
    return request.parameters.get("binary_data_output") is True


def encode_body(
    model: str, version: str, request: InferRequest, outputs: Sequence[tuple[str, str, np.ndarray]]
) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON header where binary data follows it."""
    blobs = [encode_binary(array) if wants_binary(request, name) else None for name, _, array in outputs]
    sizes = [None if blob is None else {"binary_data_size": len(blob)} for blob in blobs]
    header = encode_response(model, version, request.id, outputs, sizes)
    tail = [blob for blob in blobs if blob is not None]
    return (b"".join([header, *tail]), len(header)) if tail else (header, None)


def encode_binary(array: np.ndarray) -> bytes:
    """An array's raw bytes, little-endian; BYTES elements each behind their length."""
    if array.dtype != object:
        return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
    items = [v if isinstance(v, bytes) else v.encode() for v in array.ravel()]
    return b"".join(struct.pack("<I", len(item)) + item for item in items)
