"""Networks: an ONNX graph becomes one native function for each batch size.

A size is compiled in, so every loop has a known end and every tile fits. Batches between two sizes are padded, larger
ones are cut.
"""

from collections.abc import Mapping, Sequence

import onnx

from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx, tvm_errors
from bottega.compile.native import llvm_target
from bottega.compile.onnx_checks import notes
from bottega.compile.program import Program
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.target import Target
from bottega.errors import Unsupported

SIZES = (1, 4, 16)
"""Batch sizes compiled; a larger batch runs the largest one again and again, while its tensors stay in the cache."""


def entry(size: int) -> str:
    """Name of the function for batches of `size` rows."""
    return f"network_{size}"


def add_network(program: Program, model: bytes, width: int, target: Target, scheduler: Scheduler = schedule) -> None:
    """Add the network at every size.

    Raises InvalidData for bytes that are no model, Unsupported where the interface is not one (batch, width) matrix to
    one, or where TVM does not compile an operator.
    """
    graph = read_onnx(model)
    inputs, outputs = graph.graph.input, graph.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        raise Unsupported(f"The network has {len(inputs)} inputs and {len(outputs)} outputs; it must have one of each.")
    for size in SIZES:
        add_size(program, graph, {inputs[0].name: (size, width)}, size, target, scheduler)
    program.notes.extend(notes(graph))


def add_size(
    program: Program,
    graph: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]],
    size: int,
    target: Target,
    scheduler: Scheduler = schedule,
) -> None:
    """Add the graph for batches of `size` rows, its inputs of these shapes; its kernels by the rules, or by a tuner.

    Raises Unsupported where TVM does not compile an operator.
    """
    with tvm_errors():
        kernels = lower(import_onnx(graph, shapes), llvm_target(target))
        joined = join(scheduler(kernels, target), entry(size))
    program.add(entry(size), joined.function, list(joined.constants.values()))


def sizes_for(batch: int) -> list[int]:
    """The sizes that can serve batches of `batch` rows: `size_for` it, and smaller ones that run on its parts."""
    return [size_for(batch), *(size for size in reversed(SIZES) if size < min(batch, SIZES[-1]))]


def size_for(batch: int) -> int:
    """The size that serves batches of `batch` rows: the smallest that holds them, else the largest."""
    return next((size for size in SIZES if size >= batch), SIZES[-1])
