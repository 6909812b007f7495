"""The express lane of a model: requests of the common form, from their JSON text to that of their answers.

Most requests bring each input flat, name nothing else, and are right. For those one typed decoder reads the text, their
numbers stay bytes until those of a whole loop turn become one array, and the checks, the run and the notes in the
metrics are the batch's. The lane knows no refusal: what is of another form, or fails, takes the long way through
`bottega.serving.inference`, which finds what is wrong and says it. Both ways give the same answers.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter_ns
from typing import Any, Protocol

import msgspec
import numpy as np

from bottega.serving.batcher import Batcher
from bottega.serving.metrics import ModelMetrics
from bottega.serving.protocol import DATATYPES, TensorSpec
from bottega.serving.statistics import Statistics

_ELEMENTS: Mapping[str, tuple[str, type]] = {
    **{f"INT{bits}": (code, int) for bits, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))},
    **{f"UINT{bits}": (code, int) for bits, code in ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))},
    **{f"FP{bits}": (code, float) for bits, code in ((32, "f"), (64, "d"))},
}
"""The letter of a datatype in `struct`, and its elements in JSON. Packing refuses what does not fit the datatype."""
_NOT_COMMON = (msgspec.MsgspecError, RecursionError, struct.error, OverflowError, ValueError, IndexError)
_encode = msgspec.json.Encoder().encode


class Asker(Protocol):
    """Who waits for an answer; one of the two is called, once."""

    def reply(self, body: bytes) -> None:
        """Take the JSON text of the answer."""

    def take_long_way(self) -> None:
        """Have the request answered by the general code."""


@dataclass(slots=True)
class _Waiting:
    data: list[bytes]
    rows: int
    id: str
    asker: Asker
    received_ns: int
    parsed_ns: int


class Lane:
    """`check` raises where joined inputs are not what the model takes; `run` answers at most `max_rows` rows.

    Runs are counted with those of the model's `batcher`, which the long way goes through.
    """

    def __init__(
        self,
        name: str,
        version: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        check: Callable[[dict[str, np.ndarray]], object],
        run: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]],
        max_rows: int,
        metrics: ModelMetrics,
        statistics: Statistics,
        batcher: Batcher,
    ) -> None:
        self._inputs = [_Input(tensor) for tensor in inputs]
        self._outputs = [_Output(tensor) for tensor in outputs]
        self._decode, self._text = _decoder(inputs).decode, _template(name, version, outputs)
        self._check, self._run, self._max_rows = check, run, max_rows
        self._metrics, self._statistics, self._batcher = metrics, statistics, batcher
        self._waiting: list[_Waiting] = []

    def take(self, body: bytes, asker: Asker) -> bool:
        """Queue a request for the end of this loop turn; False where it is not of the common form."""
        received_ns = perf_counter_ns()
        try:
            request = self._decode(body)
            rows = request.inputs[0].shape[0]
            data = [wanted.packed(given, rows) for wanted, given in zip(self._inputs, request.inputs, strict=True)]
        except _NOT_COMMON:
            return False
        if not 0 < rows <= self._max_rows:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_Waiting(data, rows, request.id, asker, received_ns, perf_counter_ns()))
        return True

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        batch: list[_Waiting] = []
        rows = 0
        for one in waiting:
            if rows + one.rows > self._max_rows:
                self._answer(batch, rows)
                batch, rows = [], 0
            batch.append(one)
            rows += one.rows
        self._answer(batch, rows)

    def _answer(self, batch: list[_Waiting], rows: int) -> None:
        began_ns = perf_counter_ns()
        columns = zip(self._inputs, zip(*(one.data for one in batch), strict=True), strict=True)
        try:
            arrays = {tensor.name: tensor.array(b"".join(parts), rows) for tensor, parts in columns}
            self._check(arrays)
            answers = self._run(arrays)
            values = [tensor.values(answers[tensor.name], rows) for tensor in self._outputs]
        except Exception:  # noqa: BLE001  whatever it is, the long way finds it out, for each request alone
            for one in batch:
                one.asker.take_long_way()
            return
        ran_ns = perf_counter_ns()
        self._reply(batch, values)
        self._note(batch, rows, began_ns, ran_ns)

    def _reply(self, batch: list[_Waiting], outputs: "list[_Values]") -> None:
        start = 0
        for one in batch:
            end = start + one.rows
            parts = [part for output in outputs for part in (one.rows, output.text(start, end))]
            tail = b"}" if not one.id else b',"id":%b}' % _encode(one.id)
            one.asker.reply(self._text % (*parts, tail))
            start = end

    def _note(self, batch: list[_Waiting], rows: int, began_ns: int, ran_ns: int) -> None:
        """Encoding is noted as an equal part of what it took for all."""
        done_ns, count = perf_counter_ns(), len(batch)
        parsed = [one.parsed_ns - one.received_ns for one in batch]
        queued = [began_ns - one.parsed_ns for one in batch]
        total = [done_ns - one.received_ns for one in batch]
        stages = self._metrics.stages
        stages["parse"].observe_all(parsed)
        stages["queue"].observe_all(queued)
        stages["run"].observe_ns(ran_ns - began_ns)
        stages["encode"].observe_all([(done_ns - ran_ns) // count] * count)
        stages["total"].observe_all(total)
        self._metrics.request_count += count
        self._metrics.row_count += rows
        self._batcher.runs += 1
        self._batcher.run_ns += ran_ns - began_ns
        self._batcher.queue_ns += sum(queued)
        self._statistics.succeeded(count, rows, sum(total), sum(parsed), done_ns - ran_ns)


class _Input:
    """What one input of the common form is."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.name, self._datatype, self._row = tensor.name, tensor.datatype, list(tensor.shape[1:])
        self._width, self._code = prod(self._row), _ELEMENTS[tensor.datatype][0]
        self._dtype = DATATYPES[tensor.datatype]

    def packed(self, given: Any, rows: int) -> bytes:
        """The numbers as bytes. Raises ValueError where it is another tensor, struct.error where they do not fit."""
        count = len(given.data)
        if (
            given.name != self.name
            or given.datatype != self._datatype
            or given.shape != [rows, *self._row]
            or count != rows * self._width
        ):
            raise ValueError
        return struct.pack(f"{count}{self._code}", *given.data)

    def array(self, data: bytes, rows: int) -> np.ndarray:
        """The numbers as an array, which cannot be written to."""
        return np.frombuffer(data, self._dtype).reshape(rows, *self._row)


class _Output:
    """What one output is."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.name, self._row = tensor.name, tensor.shape[1:]
        self._width = prod(self._row)

    def values(self, array: np.ndarray, rows: int) -> "_Values":
        """A batch's numbers. Raises ValueError where the model gave another shape than it declares."""
        if array.shape != (rows, *self._row):
            raise ValueError
        return _Values(array.ravel().tolist(), self._width)


class _Values:
    """An output's numbers for a batch."""

    __slots__ = ("_flat", "_width")

    def __init__(self, flat: list[Any], width: int) -> None:
        self._flat, self._width = flat, width

    def text(self, start: int, end: int) -> bytes:
        """The JSON text of these rows, flat."""
        return _encode(self._flat[start * self._width : end * self._width])


def is_common(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether a model that joins requests can have a lane: numbers in and out, of known sizes."""
    known = all(size > 0 for tensor in (*inputs, *outputs) for size in tensor.shape[1:])
    return known and bool(inputs) and all(tensor.datatype in _ELEMENTS for tensor in (*inputs, *outputs))


def _decoder(inputs: Sequence[TensorSpec]) -> msgspec.json.Decoder[Any]:
    """Reads a request with exactly these inputs, and nothing that changes how it is answered."""
    tensors: list[Any] = []
    for tensor in inputs:
        data: Any = list[_ELEMENTS[tensor.datatype][1]]  # type: ignore[misc]
        fields = [("name", str), ("shape", list[int]), ("datatype", str), ("data", data)]
        tensors.append(msgspec.defstruct("Input", fields, forbid_unknown_fields=True))
    every: Any = tuple[tuple(tensors)]  # type: ignore[misc]
    request = msgspec.defstruct("Request", [("inputs", every), ("id", str, "")], forbid_unknown_fields=True)
    return msgspec.json.Decoder(request)


def _template(name: str, version: str, outputs: Sequence[TensorSpec]) -> bytes:
    """The text of an answer, open at each output's rows and numbers and at its end."""

    def fixed(value: object) -> bytes:
        return _encode(value).replace(b"%", b"%%")

    tensors = [
        b'{"name":%b,"datatype":%b,"shape":[%%d%b],"data":%%b}'
        % (fixed(t.name), fixed(t.datatype), b"".join(b",%d" % size for size in t.shape[1:]))
        for t in outputs
    ]
    head = b'{"model_name":%b,"model_version":%b,"outputs":[' % (fixed(name), fixed(version))
    return head + b",".join(tensors) + b"]%b"
