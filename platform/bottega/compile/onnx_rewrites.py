"""Rewrites of an ONNX graph before TVM sees it, so that TVM has fewer operators to know.

Operators that the standard itself defines by simpler ones are written out where TVM's importer lacks them, and what is
known before a run (shapes, and the arithmetic on them) becomes constants.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnx
from onnx import helper, inliner
from tvm.relax.frontend.onnx import onnx_frontend

if TYPE_CHECKING:
    from onnxscript import ir

_ROUNDS = 4
"""Written-out operators may hold operators to write out; none of the standard's goes deeper."""
_LARGEST_FOLDED = 2**18
"""Elements of a constant that is computed here."""
_OTHERS = frozenset({"Attention"})
"""What TVM's importer converts under this name is another operator, of ONNX Runtime's own."""


def without_defaults(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its inputs only those that have no weight as a default value, as old exporters wrote every weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    return model


def with_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have these shapes; what was known of other shapes, which may follow, is forgotten."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in shapes:
            value.type.tensor_type.shape.CopyFrom(_shape(shapes[value.name]))
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    return copy


def _shape(sizes: Sequence[int]) -> onnx.TensorShapeProto:
    return onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes])


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with operators that TVM knows, and with what is constant computed."""
    from onnxscript import ir, optimizer  # takes more than a second

    graph = ir.from_proto(_write_out(model))
    optimizer.optimize_ir(graph, should_fold=_is_small)
    return ir.to_proto(graph)


def _is_small(node: "ir.Node") -> bool | None:
    """False for what may be large, as it would only be measured after it was computed; None leaves it to the rules."""
    for output in node.outputs:
        shape = output.shape.numpy() if output.shape is not None and output.shape.is_static() else None
        if shape is None or math.prod(shape) > _LARGEST_FOLDED:
            return False
    return None


def _write_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without functions of the model, and without operators that the standard defines and TVM does not convert."""
    for _ in range(_ROUNDS):
        names = sorted({(node.domain, node.op_type) for node in model.graph.node if not _is_converted(node)})
        if not names:
            break
        model = inliner.inline_selected_functions(_with_types(model), names, inline_schema_functions=True)
    return model


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the type of every value written into it, weights among them: definitions depend on types."""
    typed = onnx.shape_inference.infer_shapes(model)
    weights = (helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in typed.graph.initializer)
    typed.graph.value_info.extend(weights)
    return typed


def _is_converted(node: onnx.NodeProto) -> bool:
    """Whether TVM's importer converts this use of an operator."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in known_operators():
        return False
    if node.op_type == "LayerNormalization":
        return not any(node.output[1:])  # the importer makes up the others
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    return node.op_type != "RMSNormalization" or axis == -1


@functools.cache
def known_operators() -> frozenset[str]:
    """What TVM's importer converts by its ONNX name."""
    return frozenset(onnx_frontend._get_convert_map()) - _OTHERS | {"Constant"}
