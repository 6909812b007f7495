"""Indices: native code does not check them, so a graph's look-ups are made safe for any index before they become code.

Inside the table, an index means what ONNX says, negative ones counted from the end. Beyond it, the nearest row answers.
What would write to such a place is refused: an answer that lands in another row is no answer.
"""

import tvm
from tvm import relax

from bottega.errors import Unsupported

_WRITES = ("relax.scatter_nd", "relax.scatter_elements")


@tvm.transform.module_pass(opt_level=0)
class SafeTakes:
    """Makes look-ups and gathers safe for any index, for every backend."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        clipper = _Clipper(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                clipper.builder_.update_func(name, clipper.visit_expr(function))
        return clipper.builder_.get()


@relax.expr_functor.mutator
class _Clipper(relax.PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator in _WRITES:
            raise Unsupported(f"{operator} does not check its indices.")
        if operator == "relax.take" and call.attrs.mode == "fast":
            return relax.op.take(call.args[0], call.args[1], axis=call.attrs.axis, mode="clip")
        if operator == "relax.gather_elements":
            table, indices = call.args
            axis = int(call.attrs.axis)
            return relax.op.gather_elements(table, self._inside(indices, [table.ty.shape.values[axis]]), axis)
        if operator == "relax.gather_nd":
            table, indices = call.args
            first, count = int(call.attrs.batch_dims), int(indices.ty.shape.values[-1])
            sizes = list(table.ty.shape.values)[first : first + count]
            return relax.op.gather_nd(table, self._inside(indices, sizes), first)
        return call

    def _inside(self, indices: relax.Expr, sizes: list) -> relax.Expr:
        """Indices into axes of these sizes, one for each number of their last axis or one for all.

        Negative ones are already counted from the end, by the importer.
        """
        if not all(isinstance(size, tvm.tirx.IntImm) for size in sizes):
            raise Unsupported("The table of a gather has a size that is not known.")
        kind, limits = str(indices.ty.dtype), [int(size) - 1 for size in sizes]
        last = relax.const(limits if len(limits) > 1 else limits[0], kind)
        positive = self.builder_.emit(relax.op.maximum(indices, relax.const(0, kind)))
        return self.builder_.emit(relax.op.minimum(positive, last))
