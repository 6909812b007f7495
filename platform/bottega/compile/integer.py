"""Integer arithmetic: matrix products of a quantised graph in int8 with sums in int32, instead of float32.

A quantised ONNX graph says `dequantise(q) @ dequantise(w)`: the float numbers are the mathematics, the integers q and w
are what is stored. With scales a and b_n and zero point z, column n of the product is the same as
`a * b_n * (sum_k q_k w_kn - z * sum_k w_kn)`, so all of the work can be done on integers, exactly, and the last sum is
a constant (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import tvm
from tvm import relax, te, tirx
from tvm.ir import GenericConst

LANES, DEPTH = 16, 4
"""Weights lie in blocks of 16 columns by 4 rows: what one instruction (vpdpbusd) multiplies and adds up."""
PACKED = "bottega.packed"
"""Annotation of the blocks that hold such a product."""
_FUSES_WHAT_FOLLOWS = {"op_pattern": 4}
"""TVM's pattern kOutEWiseFusable: an operator whose element-wise successors join its kernel."""


@dataclass(frozen=True)
class _Quantised:
    """A value that is stored as whole numbers: value = scale * (stored - zero), `scale` for all or for each column."""

    stored: relax.Expr | np.ndarray
    scale: np.ndarray
    zero: int = 0


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether the graph holds whole numbers for fractions."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


@tvm.transform.module_pass(opt_level=0, name="UseIntegers")
class UseIntegers:
    """Rewrites products of a quantised activation with quantised constant weights."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every Relax function."""
        rewriter = _Rewriter(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                rewriter.builder_.update_func(name, rewriter.visit_expr(function))
        return rewriter.builder_.get()


@relax.expr_functor.mutator
class _Rewriter(relax.PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator == "relax.quantize":
            scale, zero = (_array(argument) for argument in call.args[1:])
            if scale is not None and zero is not None and scale.size == 1 and str(call.attrs.out_dtype) == "uint8":
                return self._te(quantise, call.args[0], float(scale.item()), int(zero.item()))
        if operator == "relax.matmul":
            left, right = self._activation(call.args[0]), self._weights(call.args[1])
            if left is not None and right is not None:
                return self._product(left, right)
        return call

    def _product(self, left: _Quantised, right: _Quantised) -> relax.Expr:
        packed = pack(right.stored)
        rows, filled = right.stored.shape[0], packed.shape[1] * DEPTH
        stored = left.stored if rows == filled else self._te(fill, left.stored, filled)
        sums = self._te(multiply, stored, relax.const(packed), primfunc_attrs=_FUSES_WHAT_FOLLOWS)
        offset = relax.const(left.zero * right.stored.sum(0, dtype=np.int32))
        return self._te(dequantise, sums, relax.const(left.scale * right.scale), offset)

    def _te(self, function: Callable[..., te.Tensor], *arguments: object, **options: object) -> relax.Expr:
        return self.builder_.emit(self.builder_.call_te(function, *arguments, **options))

    def _bound(self, value: relax.Expr) -> relax.Expr:
        return self.lookup_binding(value) if isinstance(value, relax.Var) else value

    def _activation(self, value: relax.Expr) -> _Quantised | None:
        """What a dequantisation of bytes with one scale stands for."""
        call = self._bound(value)
        if getattr(getattr(call, "op", None), "name", "") != "relax.dequantize":
            return None
        stored, scale, zero = call.args[0], *(_array(argument) for argument in call.args[1:])
        if scale is None or zero is None or scale.size != 1 or str(stored.ty.dtype) != "uint8":
            return None
        return _Quantised(stored, scale.reshape(()), int(zero.item()))

    def _weights(self, value: relax.Expr) -> _Quantised | None:
        """What a dequantisation of a constant int8 matrix, one scale for each column, stands for."""
        call = self._bound(value)
        operator = getattr(getattr(call, "op", None), "name", "")
        if operator == "relax.permute_dims" and len(call.args[0].ty.shape) == 2:
            found = self._weights_by_axis(self._bound(call.args[0]), 0)
            return None if found is None else _Quantised(found.stored.T, found.scale)
        return self._weights_by_axis(call, 1)

    def _weights_by_axis(self, call: relax.Expr, axis: int) -> _Quantised | None:
        if getattr(getattr(call, "op", None), "name", "") != "relax.dequantize":
            return None
        stored, scale, zero = (_array(self._bound(argument)) for argument in call.args)
        if stored is None or scale is None or zero is None or stored.ndim != 2 or stored.dtype != np.int8 or zero.any():
            return None
        if scale.size > 1 and call.attrs.axis % 2 != axis:
            return None
        return _Quantised(stored, np.broadcast_to(scale.reshape(-1), (stored.shape[axis],)))


def _array(value: relax.Expr) -> np.ndarray | None:
    return value.value.numpy() if isinstance(value, GenericConst) else None


def pack(weights: np.ndarray) -> np.ndarray:
    """(rows, columns) int8 to (column blocks, row blocks, LANES, DEPTH) int8, filled up with zeros."""
    rows, columns = weights.shape
    padded = np.pad(weights, ((0, -rows % DEPTH), (0, -columns % LANES)))
    blocks = padded.reshape(padded.shape[0] // DEPTH, DEPTH, padded.shape[1] // LANES, LANES)
    return np.ascontiguousarray(blocks.transpose(2, 0, 3, 1))


def quantise(values: te.Tensor, scale: float, zero: int) -> te.Tensor:
    """float32 to bytes; halves go to the even neighbour."""
    factor = tirx.const(np.float32(1 / scale), "float32")

    def element(*index: tirx.Var) -> tirx.Expr:
        moved = tirx.nearbyint(values(*index) * factor) + tirx.const(zero, "float32")
        return te.max(te.min(moved, tirx.const(255.0, "float32")), tirx.const(0.0, "float32")).astype("uint8")

    return te.compute(values.shape, element, name="quantised")


def fill(values: te.Tensor, rows: int) -> te.Tensor:
    """The bytes with zeros after them, up to `rows`."""
    *outer, known = values.shape
    zero = tirx.const(0, "uint8")
    return te.compute(
        (*outer, rows),
        lambda *index: tirx.if_then_else(index[-1] < known, values(*index), zero),
        name="filled",
    )


def multiply(left: te.Tensor, packed: te.Tensor) -> te.Tensor:
    """(..., rows) bytes by packed weights to (..., columns filled up) int32, exact."""
    block, part = (te.reduce_axis((0, int(size)), name) for size, name in ((packed.shape[1], "block"), (DEPTH, "part")))

    def element(*index: tirx.Var) -> tirx.Expr:
        *outer, column = index
        byte = left(*outer, block * DEPTH + part).astype("int32")
        weight = packed(column // LANES, block, column % LANES, part).astype("int32")
        return te.sum(byte * weight, axis=[block, part])

    return te.compute((*left.shape[:-1], packed.shape[0] * LANES), element, name="product", attrs={PACKED: 1})


def dequantise(sums: te.Tensor, scale: te.Tensor, offset: te.Tensor) -> te.Tensor:
    """(..., columns filled up) int32 to (..., columns) float32."""
    return te.compute(
        (*sums.shape[:-1], *scale.shape),
        lambda *index: (sums(*index) - offset(index[-1])).astype("float32") * scale(index[-1]),
        name="dequantised",
    )
