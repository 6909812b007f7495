"""Ids: which elements of an input are rows of a table in the graph, and how many rows that table has.

Native code looks up any row that it is asked for, so the range of every id must be known before. A `Gather` names the
table; its indices are followed back to an input through operators that only move elements or add constants to them.
The graph itself then says where each element goes: run on zeros it gives what is added, run on numbered elements it
gives which of them became which index.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from bottega.compile.onnx_engine import open_session, session_errors
from bottega.compile.tensors import UNBOUNDED

_MOVES = frozenset(
    {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split", "Cast", "Gather"}
)
_SHIFTS = frozenset({"Add", "Sub"})

Range = tuple[tuple[int, ...], tuple[int, ...]]
"""The lowest and the highest id: one number each, or one for each element of a row in C order."""


@dataclass(frozen=True)
class _Lookup:
    """A `Gather` of a table with `rows` rows by `indices`, which come from one `input`."""

    input: str
    indices: str
    rows: int


def id_ranges(model: onnx.ModelProto, empty: Mapping[str, np.ndarray]) -> dict[str, Range]:
    """The range of the ids in each input that holds any.

    `empty` are zeros for every input, at a batch of one. Ids count from 0: a negative one, which ONNX would count from
    the table's end, is a mistake where it comes from outside. Where indices are computed in another way, no range is
    known and native code keeps them inside the table.
    """
    lowest: dict[str, np.ndarray] = {}
    highest: dict[str, np.ndarray] = {}
    for lookup in _lookups(model, set(empty)):
        place = _places(model, lookup, empty)
        if place is None:
            continue
        element, added = place
        size = empty[lookup.input].size
        low = lowest.setdefault(lookup.input, np.full(size, UNBOUNDED[0]))
        high = highest.setdefault(lookup.input, np.full(size, UNBOUNDED[1]))
        np.maximum.at(low, element, -added)
        np.minimum.at(high, element, lookup.rows - 1 - added)
    return {name: (_short(lowest[name]), _short(highest[name])) for name in lowest}


def _short(numbers: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in (numbers[:1] if (numbers == numbers[0]).all() else numbers))


def _lookups(model: onnx.ModelProto, inputs: set[str]) -> list[_Lookup]:
    """Every `Gather` whose indices are elements of one input."""
    makers = {output: node for node in model.graph.node for output in node.output}
    sizes = _sizes(model)
    found = []
    for node in model.graph.node:
        if node.op_type != "Gather" or node.domain not in ("", "ai.onnx"):
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        shape, source = sizes.get(node.input[0], ()), origin(node.input[1], makers, inputs, _MOVES | _SHIFTS)
        rows = shape[axis] if -len(shape) <= axis < len(shape) else 0
        if source and rows:
            found.append(_Lookup(source, node.input[1], rows))
    return found


def origin(value: str, makers: Mapping[str, onnx.NodeProto], inputs: set[str], allowed: frozenset[str]) -> str:
    """The input that a value's elements come from through `allowed` operators; empty where there is no such one."""
    while value not in inputs:
        node = makers.get(value)
        if node is None or node.op_type not in allowed:
            return ""
        first, second = node.input[0], (node.input[1] if len(node.input) > 1 else "")
        if node.op_type in ("Add", "Gather") and _depends(second, makers, inputs):
            if node.op_type == "Gather" or _depends(first, makers, inputs):
                return ""
            first, second = second, first
        if node.op_type == "Sub" and _depends(second, makers, inputs):
            return ""
        value = first
    return value


def _depends(value: str, makers: Mapping[str, onnx.NodeProto], inputs: set[str]) -> bool:
    """Whether a value is made of an input's elements; its shape alone does not count."""
    waiting, seen = [value], set()
    while waiting:
        name = waiting.pop()
        if name in inputs:
            return True
        node = makers.get(name)
        if node is None or name in seen or node.op_type in ("Shape", "Size"):
            continue
        seen.add(name)
        waiting += node.input
    return False


def _sizes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every value as far as it is known without running; 0 for an axis that is not."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.graph.value_info, *inferred.graph.input):
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(dim.dim_value for dim in dims))
    return shapes


def _places(
    model: onnx.ModelProto, lookup: _Lookup, empty: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """For every index: which element of the input it is, and what is added to that element; both (indices,).

    None where the graph does something else to them.
    """
    start = empty[lookup.input]
    numbers = np.arange(start.size).reshape(start.shape)
    if not 0 < start.size <= _largest(start.dtype):
        return None
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.append(helper.make_empty_tensor_value_info(lookup.indices))
    try:
        session = open_session(cut.SerializeToString())
        runs = [
            session.run(None, {**empty, lookup.input: filled.astype(start.dtype)})[0].ravel().astype(np.int64)
            for filled in (np.zeros_like(numbers), numbers, numbers.max() - numbers)
        ]
    except session_errors():
        return None
    added, element, mirrored = runs[0], runs[1] - runs[0], runs[2] - runs[0]
    if (element + mirrored != numbers.max()).any() or not element.size or element.min() < 0:
        return None
    return element, added


def _largest(dtype: np.dtype) -> int:
    """Up to where a type holds every whole number."""
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 2 ** (np.finfo(dtype).nmant + 1)
