"""Folding of small constants: the arithmetic on shapes and indices that an ONNX graph is full of, done in numpy.

TVM folds constants too, but compiles each operation to do so, 30 ms apiece; what is left for it is folded in no time.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

LARGEST = 64
"""Elements of what is folded here."""
_OPERATIONS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "relax.shape_to_tensor": np.asarray,
        "relax.add": np.add,
        "relax.less": np.less,
        "relax.where": np.where,
        "relax.isnan": np.isnan,
    }
)


@tvm.transform.module_pass(opt_level=0, name="FoldSmallConstants")
class FoldSmallConstants:
    """Replaces known operations on known small values by their results."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Fold every Relax function."""
        folder = _Folder(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                folder.builder_.update_func(name, folder.visit_expr(function))
        return folder.builder_.get()


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator == "relax.shape_of":
            shape = _sizes(call.args[0].ty.shape)
            return call if shape is None else relax.ShapeExpr(shape.tolist())
        values = [self._value(argument) for argument in call.args]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or any(value.size > LARGEST for value in known):
            return call
        if operator in _OPERATIONS:
            return _constant(_OPERATIONS[operator](*known))
        if operator == "relax.take" and known[0].ndim == 1 and call.attrs.mode in ("wrap", "clip"):
            return _constant(np.take(known[0], known[1], mode=call.attrs.mode))
        return call

    def _value(self, argument: relax.Expr) -> np.ndarray | None:
        if isinstance(argument, relax.Var):
            argument = self.lookup_binding(argument)
        if isinstance(argument, GenericConst):
            return argument.value.numpy()
        return _sizes(argument) if isinstance(argument, relax.ShapeExpr) else None


def _sizes(shape: relax.Expr | None) -> np.ndarray | None:
    """The sizes of a shape, where all are known."""
    if not isinstance(shape, relax.ShapeExpr) or any(isinstance(size, tvm.ir.Var) for size in shape.values):
        return None
    return np.array([int(size) for size in shape.values], np.int64)


def _constant(value: np.ndarray) -> relax.Expr:
    array = np.asarray(value)
    return relax.const(array, str(array.dtype))
