"""One graph through Bottega's compiler, as networks go: import, lower, schedule, join, native code, a call."""

import tempfile
from pathlib import Path

import numpy as np
import tvm

from bottega.compile import library, native
from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx, tvm_errors
from bottega.compile.schedule import schedule
from bottega.compile.target import host
from bottega.errors import Unsupported

ENTRY = "graph"


def run(model: bytes, inputs: list) -> list[np.ndarray]:
    """The outputs of the compiled graph. Raises Unsupported, InvalidData or InvalidInput where Bottega refuses it."""
    target = host()
    graph = read_onnx(model)
    with tvm_errors():
        kernels = lower(import_onnx(graph), native.llvm_target(target))
        joined = join(schedule(kernels, target), ENTRY)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        with tvm_errors():
            native.build(tvm.IRModule({ENTRY: joined.function}), target, path)
        function = library.load(path)(ENTRY)
        arguments = [*map(_tensor, inputs), *map(_tensor, joined.constants.values())]
        results = [_result(buffer) for buffer in joined.function.params[len(arguments) :]]
        function(*arguments, *map(library.tensor, results))
    return results


def _tensor(value: object) -> object:
    if not isinstance(value, np.ndarray):
        raise Unsupported(f"{type(value).__name__} is no tensor.")
    return library.tensor(library.aligned_copy(value))


def _result(parameter) -> np.ndarray:
    if not all(isinstance(size, tvm.tirx.IntImm) for size in parameter.shape):
        raise Unsupported(f"The shape of the output, {parameter.shape}, depends on values.")
    shape = tuple(int(size) for size in parameter.shape)
    return library.aligned(shape, np.dtype(str(parameter.dtype)))
