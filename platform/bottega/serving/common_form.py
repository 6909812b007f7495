"""The common form of an inference request: each input once, flat or binary, in the model's order, and nothing that
changes how it is answered. One typed decoder reads it, a template writes the answer.

What is of another form is no error here: it is for the general code in `codec.py` and `binary.py`, whose answers have
the same bytes.
"""

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import msgspec
import numpy as np

from bottega.serving.protocol import DATATYPES, TensorSpec

_ELEMENTS: Mapping[str, tuple[str, type]] = {
    **{f"INT{bits}": (code, int) for bits, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))},
    **{f"UINT{bits}": (code, int) for bits, code in ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))},
    **{f"FP{bits}": (code, float) for bits, code in ((32, "f"), (64, "d"))},
}
"""The letter of a datatype in `struct`, and its elements in JSON. Packing refuses what does not fit the datatype."""
_encode = msgspec.json.Encoder().encode


class NotCommon(Exception):
    """The request is of another form."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request: each input's numbers as bytes, its rows and its id, and whether the outputs are wanted as bytes."""

    data: list[bytes | memoryview]
    rows: int
    id: str
    binary: bool


class Answers:
    """The outputs of a batch in the model's order; `flat` are their numbers for JSON, made when first asked for."""

    __slots__ = ("_flat", "arrays")

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays
        self._flat: list[list[Any]] | None = None

    @property
    def flat(self) -> list[list[Any]]:
        """Each output's numbers."""
        if self._flat is None:
            self._flat = [array.ravel().tolist() for array in self.arrays]
        return self._flat


class CommonForm:
    """Reads requests for one version of a model, and writes its answers."""

    def __init__(self, name: str, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self._inputs = [_Input(tensor) for tensor in inputs]
        self._outputs = [_Output(tensor) for tensor in outputs]
        self._names = [tensor.name for tensor in outputs]
        self._name_colons = 1 + sum(tensor.name.count(":") for tensor in inputs)
        self._decode = _decoder(inputs).decode
        self._json, self._binary = (_template(name, version, outputs, part) for part in (_NUMBERS, _SIZE))

    def read(self, body: bytes, header_length: int | None) -> Asked:
        """The request in a body, of which so many bytes are JSON where not all are. Raises NotCommon."""
        try:
            text = body if header_length is None else body[:header_length]
            request = self._decode(text)
            shape = request.inputs[0].shape
            rows = shape[0] if shape else 0
            data: list[bytes | memoryview] = []
            at = len(body) if header_length is None else header_length
            for wanted, given in zip(self._inputs, request.inputs, strict=True):
                size = given.parameters.binary_data_size
                if size is None:
                    data.append(wanted.pack(given, rows))
                else:
                    data.append(wanted.cut(given, rows, memoryview(body)[at : at + size], size))
                    at += size
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, struct.error, OverflowError):
            raise NotCommon from None
        if at != len(body) or text.count(b":") != self._colons(request):
            raise NotCommon
        return Asked(data, rows, request.id or "", self._wants_binary(request))

    def _colons(self, request: Any) -> int:
        """Colons in the JSON of a request that gives each key once: it may give one twice where it has others."""
        found: int = self._name_colons + (0 if request.id is msgspec.UNSET else 1 + request.id.count(":"))
        for tensor in request.inputs:
            found += 4 if tensor.parameters.binary_data_size is None else 5
        if request.outputs:
            found += 1 + sum(1 if one.parameters.binary_data is None else 3 for one in request.outputs)
            found += sum(one.name.count(":") for one in request.outputs)
        return found + (2 if request.parameters.binary_data_output else 0)

    def _wants_binary(self, request: Any) -> bool:
        """Whether all outputs are wanted as bytes. Raises NotCommon where some are, or not all are wanted in order."""
        everywhere: bool = request.parameters.binary_data_output
        if not request.outputs:
            return everywhere
        flags = [one.parameters.binary_data for one in request.outputs]
        wanted = {everywhere if flag is None else flag for flag in flags}
        if len(wanted) > 1 or [one.name for one in request.outputs] != self._names:
            raise NotCommon
        return wanted.pop()

    def arrays(self, batch: Sequence[Asked], rows: int) -> dict[str, np.ndarray]:
        """The inputs of requests of so many rows together, which cannot be written to."""
        return {
            tensor.name: tensor.array(b"".join([asked.data[i] for asked in batch]), rows)
            for i, tensor in enumerate(self._inputs)
        }

    def answers(self, found: Mapping[str, np.ndarray], rows: int) -> Answers:
        """A model's outputs. Raises NotCommon where one is not as the model declares it."""
        return Answers([tensor.checked(found[tensor.name], rows) for tensor in self._outputs])

    def write(self, asked: Asked, answers: Answers, start: int) -> tuple[bytes, int | None]:
        """The body for a request whose rows begin there, and the length of its JSON where bytes follow it."""
        end = start + asked.rows
        parts: list[Any] = []
        tail = b"}" if not asked.id else b',"id":%b}' % _encode(asked.id)
        if not asked.binary:
            for tensor, flat in zip(self._outputs, answers.flat, strict=True):
                parts += (asked.rows, _encode(flat[start * tensor.width : end * tensor.width]))
            return self._json % (*parts, tail), None
        blobs = [tensor.raw(array[start:end]) for tensor, array in zip(self._outputs, answers.arrays, strict=True)]
        for blob in blobs:
            parts += (asked.rows, len(blob))
        head = self._binary % (*parts, tail)
        return b"".join((head, *blobs)), len(head)


class _Input:
    """What one input of the common form is."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.name, self._datatype, self._row = tensor.name, tensor.datatype, list(tensor.shape[1:])
        self._width, self._code = prod(self._row), _ELEMENTS[tensor.datatype][0]
        self._one = struct.Struct(f"<{self._width}{self._code}")
        self._dtype = DATATYPES[tensor.datatype].newbyteorder("<")

    def _check(self, given: Any, rows: int, count: int) -> None:
        if (
            given.name != self.name
            or given.datatype != self._datatype
            or given.shape != [rows, *self._row]
            or count != rows * self._width
        ):
            raise NotCommon

    def pack(self, given: Any, rows: int) -> bytes:
        """The numbers of JSON as bytes. Raises struct.error, OverflowError where one does not fit."""
        if given.data is msgspec.UNSET:
            raise NotCommon
        count = len(given.data)
        self._check(given, rows, count)
        return self._one.pack(*given.data) if rows == 1 else struct.pack(f"<{count}{self._code}", *given.data)

    def cut(self, given: Any, rows: int, data: memoryview, size: int) -> memoryview:
        """The numbers that came as bytes, of which the request says that they are so many."""
        self._check(given, rows, size // self._dtype.itemsize)
        if given.data is not msgspec.UNSET or len(data) != size or size % self._dtype.itemsize:
            raise NotCommon
        return data

    def array(self, data: bytes, rows: int) -> np.ndarray:
        """The numbers as an array."""
        return np.frombuffer(data, self._dtype).reshape(rows, *self._row)


class _Output:
    """What one output is."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.name, self._row = tensor.name, tensor.shape[1:]
        self.width = prod(self._row)
        self._dtype = DATATYPES[tensor.datatype].newbyteorder("<")

    def checked(self, array: np.ndarray, rows: int) -> np.ndarray:
        """The array. Raises NotCommon where it has another shape."""
        if array.shape != (rows, *self._row):
            raise NotCommon
        return array

    def raw(self, array: np.ndarray) -> bytes:
        """The numbers as bytes."""
        return array.astype(self._dtype, copy=False).tobytes()


def is_common(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether requests for a model that joins them can have the form: numbers in and out, of known sizes."""
    known = all(size > 0 for tensor in (*inputs, *outputs) for size in tensor.shape[1:])
    return known and bool(inputs) and all(tensor.datatype in _ELEMENTS for tensor in (*inputs, *outputs))


class _InputParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    binary_data_size: int | None = None


class _OutputParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    binary_data: bool | None = None


class _RequestOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    binary_data_output: bool = False


def _decoder(inputs: Sequence[TensorSpec]) -> msgspec.json.Decoder[Any]:
    """Reads a request with exactly these inputs."""
    every: Any = tuple[tuple(_input(_ELEMENTS[tensor.datatype][1]) for tensor in inputs)]  # type: ignore[misc]
    fields: list[Any] = [("inputs", every), ("id", str | msgspec.UnsetType, msgspec.UNSET)]
    fields.append(("outputs", tuple[_RequestOutput, ...], ()))
    fields.append(("parameters", _Parameters, _Parameters()))
    return msgspec.json.Decoder(msgspec.defstruct("Request", fields, forbid_unknown_fields=True))


def _input(element: type) -> type[msgspec.Struct]:
    fields: list[Any] = [("name", str), ("shape", list[int]), ("datatype", str)]
    fields.append(("data", list[element] | msgspec.UnsetType, msgspec.UNSET))  # type: ignore[valid-type]
    fields.append(("parameters", _InputParameters, _InputParameters()))
    return msgspec.defstruct("Input", fields, forbid_unknown_fields=True)


_NUMBERS = b'"data":%b}'
_SIZE = b'"parameters":{"binary_data_size":%d}}'


def _template(name: str, version: str, outputs: Sequence[TensorSpec], part: bytes) -> bytes:
    """The JSON of an answer, open at each output's rows and at what `part` opens, and at the end."""

    def fixed(value: object) -> bytes:
        return _encode(value).replace(b"%", b"%%")

    tensors = [
        b'{"name":%b,"datatype":%b,"shape":[%%d%b],%b'
        % (fixed(t.name), fixed(t.datatype), b"".join(b",%d" % size for size in t.shape[1:]), part)
        for t in outputs
    ]
    head = b'{"model_name":%b,"model_version":%b,"outputs":[' % (fixed(name), fixed(version))
    return head + b",".join(tensors) + b"]%b"
