"""Plain models, lowered: what an ONNX graph or a tree ensemble takes, gives, and holds for native code."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bottega.compile import network, onnx_engine, tree_kernels, tree_onnx
from bottega.compile.calls import Native
from bottega.compile.graph import Graph
from bottega.compile.integer import is_quantised
from bottega.compile.manifest import Bucket, Kind, Tensor
from bottega.compile.onnx_checks import notes
from bottega.compile.order import Order
from bottega.compile.parity import PLAIN_TOLERANCE, QUANTISED_TOLERANCE, TOLERANCE
from bottega.compile.program import Program
from bottega.compile.samples import Draw, draw_rows
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.tensor_model import RunTensors, TensorModel
from bottega.compile.tensors import is_batched, shape_of
from bottega.compile.trees import Ensemble
from bottega.errors import Unsupported

CACHED = 16
"""Rows of the sizes that larger batches may run again and again."""


@dataclass(frozen=True)
class Plain:
    """A lowered model: its tensors, its program, the same model as ONNX, and what may serve batches of each size."""

    kind: Kind
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: Program
    onnx: bytes
    reference: RunTensors
    expected: RunTensors
    """What parity is checked against: the reference, or a quantised graph computed as it is written."""
    draw: Draw
    candidates: Mapping[int, Sequence[Bucket]]
    tolerance: float

    @property
    def batched(self) -> bool:
        """Whether the model knows a batch."""
        return any(map(is_batched, self.inputs))

    def model(self, buckets: Sequence[Bucket], natives: Mapping[str, Native]) -> TensorModel:
        """The model on these buckets."""
        return TensorModel(self.inputs, self.outputs, buckets, natives, lambda: self.reference)


def lower_graph(graph: Graph, order: Order, scheduler: Scheduler = schedule) -> Plain:
    """One native function for each bucket of a graph, or none where its batch must stay whole."""
    quantised = is_quantised(graph.model)
    program, sizes = Program(), order.buckets if graph.batched else (1,)
    try:
        if graph.whole:
            raise Unsupported(f"{graph.whole}.")
        for done, size in enumerate(sizes):
            order.progress("Lowering", done, len(sizes))
            shapes = {tensor.name: shape_of(tensor, size) for tensor in graph.inputs}
            network.add_size(program, graph.model, shapes, size, order.target, scheduler)
        order.progress("Lowering", len(sizes), len(sizes))
        candidates = {size: _sizes_for(size, sizes) for size in sizes}
        program.notes.extend(notes(graph.model))
    except Unsupported as error:
        program, candidates = Program(), {size: [] for size in sizes}
        program.notes.append(f"The graph runs on ONNX Runtime: {error.what}")
    return Plain(
        "network",
        graph.inputs,
        graph.outputs,
        program,
        graph.content,
        graph.reference,
        onnx_engine.tensors(graph.content, as_written=True) if quantised else graph.reference,
        graph.draw,
        candidates,
        QUANTISED_TOLERANCE if quantised else PLAIN_TOLERANCE,
    )


def _sizes_for(batch: int, sizes: Sequence[int]) -> list[Bucket]:
    """The function for the batch, and smaller ones, which run on its parts while their tensors stay in the cache."""
    small = [size for size in reversed(sizes) if size <= CACHED and size < batch]
    return [Bucket(batch, "tvm", network.entry(size), size) for size in (batch, *small)]


def lower_trees(ensemble: Ensemble, order: Order) -> Plain:
    """The kernels of an ensemble, each for any number of rows; NaN is a missing value."""
    program, content = Program(), tree_onnx.to_onnx(ensemble)
    tree_kernels.add_trees(program, ensemble)
    inputs = (Tensor(tree_onnx.INPUT, "FP32", (-1, ensemble.features), missing=True),)
    outputs = (Tensor(tree_onnx.OUTPUT, "FP32", (-1, ensemble.outputs)),)
    candidates = {batch: [Bucket(batch, "tvm", name) for name in tree_kernels.NAMES] for batch in order.buckets}
    reference, draw = onnx_engine.tensors(content), functools.partial(draw_rows, ensemble)
    return Plain("trees", inputs, outputs, program, content, reference, reference, draw, candidates, TOLERANCE["trees"])
