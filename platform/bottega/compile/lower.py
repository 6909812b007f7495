"""Lowering: an ONNX graph becomes a chain of TIR kernels.

The stages are TVM's: import to Relax, fold what is constant, give every operator its loops (legalise), and fuse the
loops of neighbours into kernels. What is left of the graph is the order of the kernels and the tensors between them.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from bottega.compile.fold import FoldSmallConstants
from bottega.compile.integer import UseIntegers
from bottega.compile.layout import ChannelsLast
from bottega.compile.operators import ReplaceOperators
from bottega.errors import BottegaError, InvalidData, Unsupported


def read_onnx(model: bytes) -> onnx.ModelProto:
    """Parse and check. Raises InvalidData for bytes that are no valid ONNX model."""
    try:
        parsed = onnx.load_model_from_string(model)
        onnx.checker.check_model(parsed, full_check=True)
    except Exception as error:  # noqa: BLE001  the parser's, the checker's and the shape inference's errors share no base
        raise InvalidData(f"The model is not readable as ONNX: {_first_line(error)}") from None
    return parsed


@contextlib.contextmanager
def tvm_errors() -> Iterator[None]:
    """Turn whatever TVM raises about a graph into Unsupported: its errors are of many types, none of them its own."""
    try:
        yield
    except BottegaError:
        raise
    except Exception as error:
        raise Unsupported(f"TVM does not compile the graph: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def import_onnx(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> tvm.IRModule:
    """Relax IR of the graph: its inputs of the given shapes, or with a batch that is known when called."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # where it prints what it then raises
        warnings.simplefilter("ignore")  # the importer warns about what the checker has already let pass
        return from_onnx(model, shape_dict=None if shapes is None else {name: list(shapes[name]) for name in shapes})


def lower(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Fused TIR kernels, and a `main` that calls them in order."""
    transform = relax.transform
    passes = [
        SafeTakes(),
        UseIntegers(),
        transform.DeadCodeElimination(),
        transform.FoldBatchnormToConv2D(),
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        FoldSmallConstants(),
        transform.FoldConstant(),
        transform.DeadCodeElimination(),
        ChannelsLast(),
        transform.FoldConstant(),
        ReplaceOperators(),
        transform.CanonicalizeBindings(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
    ]
    with target:
        return tvm.transform.Sequential(passes)(module)


_UNCHECKED = ("relax.gather_nd", "relax.gather_elements", "relax.scatter_nd", "relax.scatter_elements")


@relax.expr_functor.mutator
class _TakeClipper(relax.PyExprMutator):
    """Looks up rows by clipped index: an index out of range must not touch foreign memory."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator in _UNCHECKED:
            raise Unsupported(f"{operator} does not check its indices.")
        if operator == "relax.take" and call.attrs.mode == "fast":
            return relax.op.take(call.args[0], call.args[1], axis=call.attrs.axis, mode="clip")
        return call


@tvm.transform.module_pass(opt_level=0)
class SafeTakes:
    """Makes look-ups and gathers safe for any index, for every backend."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        clipper = _TakeClipper(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                clipper.builder_.update_func(name, clipper.visit_expr(function))
        return clipper.builder_.get()
