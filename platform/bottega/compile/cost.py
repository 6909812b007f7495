"""The cost of a graph: floating-point operations, and bytes that must move, for the roofline.

No implementation can move fewer bytes than the weights that it reads, its inputs and its outputs, or do a product with
fewer multiplications than the definition has. Both are properties of the graph at a batch size, whatever compiles it.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

import math
from collections.abc import Callable, Mapping

import msgspec
import onnx

Shapes = Mapping[str, tuple[int, ...]]


class Cost(msgspec.Struct, frozen=True):
    """Of one call: floating-point operations (a multiplication and an addition are two), bytes read and written."""

    flops: int
    bytes: int


def cost(model: onnx.ModelProto, batch: int, float_bytes: int = 4) -> Cost:
    """Cost of `model` on `batch` rows, with weights of `float_bytes` bytes a number; inputs and outputs are float32.

    Products are counted exactly, other nodes as one operation for each number that they make. A gather reads the
    rows that it picks, at most the whole table.
    """
    shapes, sizes = _shapes(at_batch(model, batch))
    read = {i.name: math.prod(i.dims) * _width(i.data_type, float_bytes) for i in model.graph.initializer}
    flops = moved = 0
    for node in model.graph.node:
        flops += _flops(node, shapes)
        if node.op_type == "Gather" and node.input[0] in read:
            table = shapes[node.input[0]]
            picked = math.prod(shapes[node.output[0]]) * (read[node.input[0]] // max(1, math.prod(table)))
            moved += min(read.pop(node.input[0]), picked)
    ends = [*model.graph.input, *model.graph.output]
    moved += sum(read.values()) + sum(math.prod(shapes[end.name]) * sizes[end.name] for end in ends)
    return Cost(flops, moved)


def at_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy of `model` with every input's first, unnamed or symbolic dimension set to `batch`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = batch
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def _shapes(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shape and bytes a number of every tensor; a dimension that is not known counts as 1."""
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    sizes = {}
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        tensor = value.type.tensor_type
        shapes[value.name] = tuple(d.dim_value or 1 for d in tensor.shape.dim)
        sizes[value.name] = _width(tensor.elem_type, 4)
    return shapes, sizes


def _width(kind: int, float_bytes: int) -> int:
    return float_bytes if kind == onnx.TensorProto.FLOAT else onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def _flops(node: onnx.NodeProto, shapes: Shapes) -> int:
    made = sum(math.prod(shapes[name]) for name in node.output if name in shapes)
    if node.op_type in _FREE:
        return 0
    return (
        _PRODUCTS[node.op_type](node, shapes) * 2 * math.prod(shapes[node.output[0]])
        if node.op_type in _PRODUCTS
        else made
    )


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return shapes[node.input[0]][0 if transposed else 1]


_FREE = frozenset(
    {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant", "Shape", "Gather", "Transpose"}
)
_PRODUCTS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "MatMul": lambda node, shapes: shapes[node.input[0]][-1],
    "Gemm": _gemm,
    "Conv": lambda node, shapes: math.prod(shapes[node.input[1]][1:]),
}
"""Multiplications and additions for each number that a product makes."""
