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
from bottega.compile.indices import SafeTakes
from bottega.compile.integer import UseIntegers
from bottega.compile.layout import ChannelsLast
from bottega.compile.onnx_checks import check_datatypes, check_file, check_sizes, may_grow
from bottega.compile.onnx_rewrites import simplify, with_input_shapes, without_defaults
from bottega.compile.operators import ReplaceOperators
from bottega.compile.refusals import check_tensors, refuse
from bottega.errors import BottegaError, InvalidData, Unsupported


def read_onnx(model: bytes) -> onnx.ModelProto:
    """Parse and check; default values of inputs become constants.

    Raises InvalidData for bytes that are no valid ONNX model or that refer to other files, TooLarge for a tensor that
    is.
    """
    try:
        parsed = onnx.load_model_from_string(model)
        check_file(parsed)
        onnx.checker.check_model(parsed, full_check=True)
        known = onnx.shape_inference.infer_shapes(parsed)
        check_sizes(known)
        if may_grow(known):
            check_sizes(onnx.shape_inference.infer_shapes(simplify(parsed)))
    except BottegaError:
        raise
    except Exception as error:  # noqa: BLE001  the parser's, the checker's and the shape inference's errors share no base
        raise InvalidData(f"The model is not readable as ONNX: {_first_line(error)}") from None
    return without_defaults(parsed)


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
    """Relax IR of the graph: its inputs of the given shapes, or with a batch that is known when called.

    Raises Unsupported for what would be compiled to something else than the standard asks for.
    """
    known = simplify(model if shapes is None else with_input_shapes(model, shapes))
    known = onnx.shape_inference.infer_shapes(known)
    check_sizes(known)
    check_datatypes(known)
    refuse(known)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # where it prints what it then raises
        warnings.simplefilter("ignore")  # the importer warns about what the checker has already let pass
        module = from_onnx(known)
    check_tensors(module)
    return module


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
