"""Operators, or settings of them, that would be compiled to something else than the ONNX standard asks for.

Each was found by running the node tests of the onnx package through the compiler. TVM's importer says nothing about
them: it ignores an attribute that it does not know, or reads it differently. So they are refused here, by name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from bottega.compile.onnx_checks import DATATYPES, LARGEST_BYTES
from bottega.errors import Unsupported

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)

_ITEM_BYTES = {str(datatype): datatype.itemsize for datatype in DATATYPES.values()}


@dataclass(frozen=True)
class Use:
    """An operator where it is used: its attributes, and what is known of its inputs, None where nothing is."""

    attributes: Mapping[str, object]
    datatypes: tuple[int | None, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...]
    constants: tuple[np.ndarray | None, ...]
    outputs: int


def refuse(model: onnx.ModelProto) -> None:
    """Raise Unsupported for the first node that would be compiled wrongly. Value infos must be in the model."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    values = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.value_info)}
    for name, kind in values.items():
        if 0 in (_shape(kind) or ()):  # TVM reads a size of 0 as one that is not known
            raise Unsupported(f"{name!r} has shape {_shape(kind)}: a tensor without elements is not compiled.")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise Unsupported(f"The operator {node.op_type} is of {node.domain!r}, not of ONNX itself.")
        rule = _RULES.get(node.op_type)
        reason = rule(_use(node, values, constants)) if rule else ""
        if reason:
            raise Unsupported(f"{node.op_type} with {reason} is not compiled.")


def _use(node: onnx.NodeProto, values: Mapping, constants: Mapping[str, TensorProto]) -> Use:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    arrays = tuple(numpy_helper.to_array(constants[name]) if name in constants else None for name in node.input)
    kinds = [values.get(name) for name in node.input]
    datatypes = tuple(
        constants[name].data_type if name in constants else kind.elem_type if kind else None
        for name, kind in zip(node.input, kinds, strict=True)
    )
    shapes = tuple(_shape(kind) for kind in kinds)
    return Use(attributes, datatypes, shapes, arrays, len([name for name in node.output if name]))


def _shape(kind: onnx.TypeProto.Tensor | None) -> tuple[int | None, ...] | None:
    if kind is None or not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)


def _batch_normalization(use: Use) -> str:
    return "training_mode" if use.attributes.get("training_mode") else ""  # TVM uses the running mean all the same


def _bit_shift(use: Use) -> str:
    """C leaves a shift by the width or more, or by less than zero, to the machine; ONNX does not."""
    shift = use.constants[1]
    if shift is None:
        return "a shift that is no constant"
    bits = shift.dtype.itemsize * 8
    return "" if ((shift >= 0) & (shift < bits)).all() else f"a shift outside 0 to {bits - 1}"


def _conv_transpose(use: Use) -> str:
    return "output_shape" if "output_shape" in use.attributes else ""  # ignored


def _dropout(use: Use) -> str:
    if len(use.datatypes) < 3 or use.datatypes[2] is None:
        return ""
    training = use.constants[2]
    return "training_mode" if training is None or training.any() else ""  # ignored


def _is_inf(use: Use) -> str:
    both = use.attributes.get("detect_negative", 1) and use.attributes.get("detect_positive", 1)
    return "" if both else "one sign only"  # ignored


def _mod(use: Use) -> str:
    return "floats but without fmod" if use.datatypes[0] in _FLOATS and not use.attributes.get("fmod") else ""


def _resize(use: Use) -> str:
    """TVM keeps the size of the result and forgets the scales that led to it."""
    if use.attributes.get("antialias"):
        return "antialias"
    scales = use.constants[2] if len(use.constants) > 2 else None
    if scales is None or not scales.size:
        return ""
    if "axes" in use.attributes:
        return "scales of some axes"  # read as those of all
    sizes = use.shapes[0] or (None,) * scales.size
    whole = all(
        size is not None and float(size * scale).is_integer() for size, scale in zip(sizes, scales, strict=True)
    )
    return "" if whole else "scales that give no whole size"


def _roi_align(use: Use) -> str:
    return "the mode max" if use.attributes.get("mode", b"avg") != b"avg" else ""  # the maximum of other points


def _space_to_depth(use: Use) -> str:
    return "the mode CRD" if use.attributes.get("mode", b"DCR") != b"DCR" else ""  # ignored


_RULES: Mapping[str, Callable[[Use], str]] = MappingProxyType(
    {
        "BatchNormalization": _batch_normalization,
        "BitShift": _bit_shift,
        "ConvTranspose": _conv_transpose,
        "Dropout": _dropout,
        "IsInf": _is_inf,
        "Mod": _mod,
        "Resize": _resize,
        "RoiAlign": _roi_align,
        "SpaceToDepth": _space_to_depth,
    }
)


def check_tensors(module: tvm.IRModule) -> None:
    """Every value of the imported graph, now that sizes are known, is a tensor that native code may hold.

    Raises Unsupported for an empty or too large one, and for anything else than tensors.
    """
    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            bound = [binding.var for block in function.body.blocks for binding in block.bindings]
            for value in (*function.params, *bound):
                for kind in _tensor_types(value.ty):
                    _check_tensor(value.name, kind)


def _tensor_types(kind: tvm.ir.Type) -> list[relax.TensorType]:
    if isinstance(kind, relax.TensorType):
        return [kind]
    if isinstance(kind, relax.TupleType):
        return [tensor for field in kind.fields for tensor in _tensor_types(field)]
    return []


def _check_tensor(name: str, kind: relax.TensorType) -> None:
    if not isinstance(kind.shape, relax.ShapeExpr):
        raise Unsupported(f"The shape of {name} depends on the values of other tensors.")
    sizes = [int(size) for size in kind.shape.values if isinstance(size, tvm.tirx.IntImm)]
    datatype = str(kind.dtype)
    if datatype not in _ITEM_BYTES:
        raise Unsupported(f"{name} is of type {datatype}, which is not compiled.")
    count_bytes = math.prod(sizes) * _ITEM_BYTES[datatype]
    if not 0 < count_bytes <= LARGEST_BYTES:
        raise Unsupported(f"{name} has shape {sizes}: {count_bytes} bytes; 1 to {LARGEST_BYTES} are compiled.")
