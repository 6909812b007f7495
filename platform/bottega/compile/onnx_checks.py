"""What an ONNX file must be before anything looks inside: nobody knows who wrote it.

The checker of the onnx package says whether a graph is one. These rules come before it and after it: no file but this
one is read, nothing is larger than native code can index, and every datatype is one that native code computes with.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

from bottega.errors import InvalidData, TooLarge, Unsupported

OPSETS = range(7, 29)
"""Versions of the operator set. Before 7, broadcasting was an attribute; after the last one, nothing was tested."""
_SIGNED = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)
LARGEST_BYTES = 2**31 - 1
"""Of one tensor."""
_GROWING = frozenset({"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"})
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
DATATYPES: Mapping[int, np.dtype] = MappingProxyType(
    {
        helper.np_dtype_to_tensor_dtype(np.dtype(kind)): np.dtype(kind)
        for kinds in ((np.float16, np.float32, np.float64, np.bool_), _SIGNED, _UNSIGNED)
        for kind in kinds
    }
)
"""Datatypes that native code computes with."""


def check_file(model: onnx.ModelProto) -> None:
    """Before ONNX's checker sees the model: what could make it, or what follows, read or allocate too much.

    Raises InvalidData or TooLarge: ONNX Runtime, which takes what is only unsupported, must not open these either.
    """
    if len(_opsets(model)) != 1:
        raise InvalidData(f"The model names {len(_opsets(model))} versions of ONNX's operators; it must name one.")
    for tensor in _tensors(model):
        _check_tensor(tensor)


def _opsets(model: onnx.ModelProto) -> list[int]:
    return [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]


def _check_tensor(tensor: TensorProto) -> None:
    """Of a weight, or of a constant anywhere in the graph."""
    name = f"The tensor {tensor.name!r}"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise InvalidData(
            f"{name} is in another file, and a model file alone is read.",
            next_step="Save the model with its weights inside.",
        )
    _check_size(name, tuple(tensor.dims), tensor.data_type)
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidData(f"{name} does not hold what it says: {error}.") from None
    if tensor.data_type in _FLOATS and values.size > 1 and np.isnan(values).any():
        raise InvalidData(
            f"{name} holds {int(np.isnan(values).sum())} NaN among its {values.size} values.",
            next_step="The training diverged: train again with a smaller learning rate.",
        )


def check_sizes(model: onnx.ModelProto) -> None:
    """After shape inference: no tensor whose size is known is too large. Raises InvalidData or TooLarge."""
    for value in _values(model):
        tensor = value.type.tensor_type
        _check_size(f"The value {value.name!r}", _known_sizes(tensor), tensor.elem_type)


def may_grow(model: onnx.ModelProto) -> bool:
    """Whether an operator makes as many elements as a value says that shape inference alone does not know."""
    known = {v.name for v in _values(model) if all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)}
    return any(node.op_type in _GROWING and not known.issuperset(node.output) for node in model.graph.node)


def _check_size(what: str, shape: tuple[int, ...], datatype: int) -> None:
    """Raise InvalidData for a negative size, TooLarge for too many bytes."""
    if any(size < 0 for size in shape):
        raise InvalidData(f"{what} has shape {shape}.")
    item_bytes = DATATYPES[datatype].itemsize if datatype in DATATYPES else 1
    if math.prod(shape) * item_bytes > LARGEST_BYTES:
        raise TooLarge(f"{what} has shape {shape}: more than {LARGEST_BYTES} bytes.")


def check_datatypes(model: onnx.ModelProto) -> None:
    """Raise Unsupported for a version of the operators, a type or a datatype that is not compiled."""
    version = _opsets(model)[0]
    if version not in OPSETS:
        raise Unsupported(
            f"The model uses version {version} of ONNX's operators.",
            next_step=f"Export it with one from {OPSETS[0]} to {OPSETS[-1]}.",
        )
    for value in _values(model):
        kind = (value.type.WhichOneof("value") or "value without a type").removesuffix("_type")
        if kind != "tensor":
            raise Unsupported(f"{value.name!r} is a {kind}, which is not compiled.")
        _check_datatype(value.name, value.type.tensor_type.elem_type)
    for tensor in _tensors(model):
        _check_datatype(tensor.name, tensor.data_type)


def _check_datatype(name: str, datatype: int) -> None:
    if datatype not in DATATYPES:
        kinds = TensorProto.DataType
        kind = kinds.Name(datatype).lower() if datatype in kinds.values() else f"number {datatype}"
        raise Unsupported(f"{name!r} is of type {kind}, which is not compiled.")


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    yield from model.graph.input
    yield from model.graph.output
    yield from model.graph.value_info


def _known_sizes(tensor: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    """The sizes that do not depend on the batch."""
    return tuple(dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value"))


def notes(model: onnx.ModelProto) -> list[str]:
    """What a reader should know about weights that are kept as they are: infinite ones, as masks and limits have."""
    found = [tensor.name for tensor in model.graph.initializer if _has_infinite(tensor)]
    return [f"Infinite weights are kept: {', '.join(found)}."] if found else []


def _has_infinite(tensor: TensorProto) -> bool:
    return tensor.data_type in _FLOATS and bool(np.isinf(numpy_helper.to_array(tensor)).any())


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor in a model: weights, attributes, those of branches and functions."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _tensors(part)
