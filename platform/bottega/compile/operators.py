"""Operators of which we know a better kernel than TVM's, or of which TVM has none that stands alone."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import tvm
from tvm import relax

from bottega.compile.products import replace_product
from bottega.compile.topk import top_k
from bottega.compile.winograd import replace_convolution

Rule = Callable[[relax.BlockBuilder, tvm.ir.Call], relax.Expr | None]
"""A call of the operator in other words; None where the rule does not hold."""


@tvm.transform.module_pass(opt_level=0, name="ReplaceOperators")
class ReplaceOperators:
    """Replaces calls of operators by calls of our kernels, by the rules below."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace in every Relax function."""
        replacer = _Replacer(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                replacer.builder_.update_func(name, replacer.visit_expr(function))
        return replacer.builder_.get()


@relax.expr_functor.mutator
class _Replacer(relax.PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        rule = _RULES.get(getattr(call.op, "name", ""))
        replaced = None if rule is None else rule(self.builder_, call)
        return call if replaced is None else replaced


def _top_k(builder: relax.BlockBuilder, call: tvm.ir.Call) -> relax.Expr | None:
    """The last axis of float32 of a known shape, both results wanted."""
    data, wanted = call.args[0], call.attrs
    shape = known_shape(data)
    if shape is None or str(data.ty.dtype) != "float32" or str(wanted.dtype) != "int64" or wanted.ret_type != "both":
        return None
    axis, k = wanted.axis % len(shape), int(wanted.k)
    if not 1 <= k <= shape[axis] or 0 in shape:
        return None
    order = [*(i for i in range(len(shape)) if i != axis), axis]  # the axis last, and back again
    outer, back = [shape[i] for i in order[:-1]], [order.index(i) for i in range(len(shape))]
    rows = math.prod(outer)
    matrix = _reshaped(builder, _permuted(builder, data, order), (rows, shape[axis]))
    kernel = builder.add_func(top_k(shape[axis], k, bool(wanted.largest)), "top_k")
    kinds = [relax.TensorType((rows, k), kind) for kind in ("float32", "int64")]
    best = builder.emit(relax.call_tir(kernel, [matrix], kinds))
    parts = [builder.emit(relax.TupleGetItem(best, i)) for i in range(2)]
    return relax.Tuple([_permuted(builder, _reshaped(builder, part, (*outer, k)), back) for part in parts])


def _permuted(builder: relax.BlockBuilder, value: relax.Expr, order: list[int]) -> relax.Expr:
    return value if order == sorted(order) else builder.emit(relax.op.permute_dims(value, order))


def _reshaped(builder: relax.BlockBuilder, value: relax.Expr, shape: tuple[int, ...]) -> relax.Expr:
    return value if known_shape(value) == shape else builder.emit(relax.op.reshape(value, shape))


def known_shape(value: relax.Expr) -> tuple[int, ...] | None:
    """The sizes of a tensor, where all are known."""
    shape = value.ty.shape
    if not isinstance(shape, relax.ShapeExpr) or any(isinstance(size, tvm.ir.Var) for size in shape.values):
        return None
    return tuple(int(size) for size in shape.values)


_RULES: Mapping[str, Rule] = MappingProxyType(
    {"relax.matmul": replace_product, "relax.nn.conv2d": replace_convolution, "relax.topk": _top_k}
)
