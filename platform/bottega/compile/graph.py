"""Graphs: what an ONNX model takes and gives, read from its bytes and from what ONNX Runtime makes of it."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from bottega.compile import onnx_engine
from bottega.compile.ids import id_ranges, origin
from bottega.compile.integer import is_quantised
from bottega.compile.lower import read_onnx
from bottega.compile.manifest import Tensor
from bottega.compile.parity import PLAIN_TOLERANCE, QUANTISED_TOLERANCE, tensor_error
from bottega.compile.samples import Draw, Samples
from bottega.compile.tensor_model import RunTensors
from bottega.compile.tensors import DTYPES, is_batched, shape_of
from bottega.errors import InvalidInput, Unsupported

_PASSES_MISSING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split"})
_DATATYPES = {
    getattr(TensorProto, {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}.get(name, name)): name
    for name in DTYPES
}


@dataclass(frozen=True)
class Graph:
    """An ONNX model and its tensors.

    `whole` says why a batch must not be padded or cut, empty where it may be.
    """

    model: onnx.ModelProto
    content: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reference: RunTensors
    draw: Draw
    whole: str = ""

    @property
    def batched(self) -> bool:
        """Whether the model knows a batch."""
        return any(map(is_batched, self.inputs))


def read_graph(content: bytes) -> Graph:
    """Read a model whose first axes are the batch where they are unknown, and whose other axes are known.

    Raises InvalidData for bytes that are no ONNX model, Unsupported for tensors that an artefact cannot name: of
    unknown size, of text, or such that differ from run to run.
    """
    model = read_onnx(content)
    plain = tuple(_input(value) for value in _given(model.graph))
    if not plain:
        raise Unsupported("The model has no inputs: its answer is a constant.")
    empty = {tensor.name: np.zeros(shape_of(tensor, 1), DTYPES[tensor.datatype]) for tensor in plain}
    ranges, missing = id_ranges(model, empty), _may_be_missing(model, set(empty))
    inputs = tuple(
        Tensor(t.name, t.datatype, t.shape, *ranges.get(t.name, ((), ())), missing=t.name in missing) for t in plain
    )
    reference = _open(content)
    samples = _samples(inputs, reference)
    tolerance = QUANTISED_TOLERANCE if is_quantised(model) else PLAIN_TOLERANCE
    outputs, whole = _outputs(model.graph, inputs, reference, samples, tolerance)
    return Graph(model, content, inputs, outputs, reference, samples.draw, whole)


def _given(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller gives; old models list their weights among them."""
    weights = {tensor.name for tensor in (*graph.initializer, *graph.sparse_initializer)}
    return [value for value in graph.input if value.name not in weights]


def _input(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    if not value.type.HasField("tensor_type") or not kind.HasField("shape") or kind.elem_type not in _DATATYPES:
        raise Unsupported(f"The input {value.name!r} is no tensor of numbers with a known number of axes.")
    if -1 in shape[1:]:
        axis = shape.index(-1, 1)
        raise Unsupported(
            f"The size of axis {axis} of the input {value.name!r} is unknown.",
            next_step="Only the first axis may be unknown, it is the batch: export the model with the others fixed.",
        )
    return Tensor(value.name, _DATATYPES[kind.elem_type], shape)


def _may_be_missing(model: onnx.ModelProto, inputs: set[str]) -> set[str]:
    """The inputs that the graph itself tests for NaN."""
    makers = {output: node for node in model.graph.node for output in node.output}
    tested = (node.input[0] for node in model.graph.node if node.op_type == "IsNaN")
    return {origin(value, makers, inputs, _PASSES_MISSING) for value in tested}


def _open(content: bytes) -> RunTensors:
    try:
        return onnx_engine.tensors(content)
    except onnx_engine.session_errors() as error:
        raise Unsupported(
            f"ONNX Runtime does not open the model: {str(error).splitlines()[0]}",
            next_step="Its answers are what native code is checked against.",
        ) from None


def _samples(inputs: tuple[Tensor, ...], reference: RunTensors) -> Samples:
    """How to draw inputs that the model answers: integers of which nothing is known may be rows of a table."""
    error = None
    for samples in (Samples(inputs, 1000), Samples(inputs, 2)):
        try:
            reference(samples.draw(3, 0), 3)
            return samples
        except InvalidInput as refused:
            error = refused
    raise Unsupported(f"The model answers no made-up input. {error}")


def _outputs(
    graph: onnx.GraphProto, inputs: tuple[Tensor, ...], reference: RunTensors, samples: Samples, tolerance: float
) -> tuple[tuple[Tensor, ...], str]:
    """The outputs, and why a batch must stay whole; both found by running two batches and their parts."""
    rows = (3, 5) if any(map(is_batched, inputs)) else (1, 1)
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    few, many = (samples.draw(count, 1) for count in rows)
    pairs = list(zip(reference(few, rows[0]), reference(many, rows[1]), strict=True))
    found, whole = [], ""
    for value, (short, long) in zip(graph.output, pairs, strict=True):
        if not isinstance(short, np.ndarray) or short.dtype not in names:
            raise Unsupported(f"The output {value.name!r} is no tensor of numbers.")
        batched = rows[0] != rows[1] and (short.shape[:1], long.shape[:1]) == ((rows[0],), (rows[1],))
        shape = (-1, *short.shape[1:]) if batched else short.shape
        found.append(Tensor(value.name, names[short.dtype], shape))
        if short.shape[batched:] != long.shape[batched:]:
            raise Unsupported(f"The shape of the output {value.name!r} is not known before the model runs.")
        if not batched and rows[0] != rows[1]:
            whole = f"the output {value.name!r} is of the whole batch"
    if not whole and rows[0] != rows[1]:
        whole = _mixing(inputs, reference, many, rows[1], tolerance)
    return tuple(found), whole


def _mixing(
    inputs: tuple[Tensor, ...], reference: RunTensors, arrays: list[np.ndarray], rows: int, tolerance: float
) -> str:
    """Why rows cannot be answered apart from each other: an operator mixes them."""
    together = reference(arrays, rows)
    for start, end in ((0, 1), (1, rows)):
        part = [a[start:end] if is_batched(t) else a for a, t in zip(arrays, inputs, strict=True)]
        for answer, expected in zip(reference(part, end - start), together, strict=True):
            if tensor_error([answer], [expected[start:end]]) > tolerance:
                return "the answer to a row depends on the other rows of its batch"
    return ""
