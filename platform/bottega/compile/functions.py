"""The plan's numeric functions as native code: each ONNX trace becomes one function over columns of any length."""

from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx, tvm_errors
from bottega.compile.native import llvm_target
from bottega.compile.program import Program
from bottega.compile.runtime import FUNCTION
from bottega.compile.target import Target
from bottega.errors import Unsupported


def add_functions(program: Program, functions: dict[str, bytes], target: Target) -> None:
    """Add every function: (batch,) float64 columns in and out, the batch known only when called.

    One that TVM does not know stays with ONNX Runtime, and the notes say so.
    """
    llvm = llvm_target(target)
    for name, content in functions.items():
        try:
            with tvm_errors():
                joined = join(lower(import_onnx(read_onnx(content)), llvm), FUNCTION + name)
        except Unsupported as error:
            program.notes.append(f"The function {name!r} runs on ONNX Runtime: {error.what}")
            continue
        program.add(FUNCTION + name, joined.function, list(joined.constants.values()))
