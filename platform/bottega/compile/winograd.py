"""Convolutions of 3 x 3 with 16 multiplications where 36 are written: Winograd's minimal filtering.

A tile of 2 x 2 results comes from 4 x 4 inputs. Both the inputs and the weights are transformed (sums and differences
of neighbours), multiplied place by place, and the 16 products, summed over channels, transformed back. The sum over
channels is a matrix product for each of the 16 places, and the weights are transformed once, at build (Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks", 2016, F(2 x 2, 3 x 3)).
"""

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir import GenericConst
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bottega.compile.loops import Registers, axes, largest_divisor
from bottega.compile.reductions import tile_size

STAGE = "bottega.winograd"
"""Annotation of the blocks of such a convolution: which of its stages they are."""
CHANNELS = 16
"""Channels in and out come in whole groups of as many: below, the transforms cost more than they save."""
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_FUSES_WHAT_FOLLOWS = {"op_pattern": 4}


def replace_convolution(builder: relax.BlockBuilder, call: tvm.ir.Call) -> relax.Expr | None:
    """A convolution of 3 x 3 without strides, channels last, of constant weights, with an even number of results."""
    data, weights = call.args
    attributes, shape = call.attrs, data.ty.shape
    plain = (attributes.data_layout, attributes.kernel_layout, attributes.groups) == ("NHWC", "HWIO", 1)
    ones = all(int(step) == 1 for step in (*attributes.strides, *attributes.dilation))
    if not (plain and ones and isinstance(weights, GenericConst) and isinstance(shape, relax.ShapeExpr)):
        return None
    height, width, before, after = weights.value.shape
    if (height, width) != (3, 3) or before % CHANNELS or after % CHANNELS or str(data.ty.dtype) != "float32":
        return None
    if any(isinstance(size, tvm.ir.Var) for size in shape.values):
        return None
    pads = [int(pad) for pad in attributes.padding]  # top, left, bottom, right
    results = [int(shape.values[i + 1]) + pads[i] + pads[i + 2] - 2 for i in range(2)]
    if any(size < 2 or size % 2 for size in results):
        return None
    transformed = relax.const(transform_weights(weights.value.numpy()))
    return builder.call_te(
        convolve, data, transformed, pads, results, primfunc_name_hint="conv2d", primfunc_attrs=_FUSES_WHAT_FOLLOWS
    )


def transform_weights(weights: np.ndarray) -> np.ndarray:
    """(3, 3, before, after) to (4, 4, before, after) float32."""
    return np.einsum("ai,bj,ijxy->abxy", _KERNEL, _KERNEL, weights.astype(np.float64)).astype(np.float32)


def convolve(data: te.Tensor, weights: te.Tensor, pads: Sequence[int], results: Sequence[int]) -> te.Tensor:
    """(batch, height, width, before) and transformed weights to (batch, *results, after)."""
    batch, height, width, before = data.shape
    top, left, *_ = pads
    after = weights.shape[3]

    def pad(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> tvm.ir.Expr:
        inside = tirx.all(y >= top, y < height + top, x >= left, x < width + left)
        return tirx.if_then_else(inside, data(b, y - top, x - left, c), tirx.const(0.0, "float32"))

    padded = te.compute((batch, results[0] + 2, results[1] + 2, before), pad, name="padded", attrs={STAGE: "pad"})

    def spread(v: tirx.Var, u: tirx.Var, b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> tvm.ir.Expr:
        return _input_row(v, lambda i: _input_row(u, lambda j: padded(b, 2 * y + i, 2 * x + j, c)))

    tiles = (batch, results[0] // 2, results[1] // 2)
    inputs = te.compute((4, 4, *tiles, before), spread, name="inputs", attrs={STAGE: "inputs"})
    channel = te.reduce_axis((0, int(before)), "channel")
    products = te.compute(
        (4, 4, *tiles, after),
        lambda v, u, b, y, x, c: te.sum(inputs(v, u, b, y, x, channel) * weights(v, u, channel, c), axis=channel),
        name="products",
        attrs={STAGE: "products"},
    )

    def collect(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> tvm.ir.Expr:
        place = (b, tirx.floordiv(y, 2), tirx.floordiv(x, 2), c)
        odd_y, odd_x = tirx.floormod(y, 2), tirx.floormod(x, 2)
        return _output_row(odd_y, lambda i: _output_row(odd_x, lambda j: products(i, j, *place)))

    return te.compute((batch, *results, after), collect, name="conv2d")


def _input_row(row: tvm.ir.Expr, value: Callable[[tvm.ir.Expr], tvm.ir.Expr]) -> tvm.ir.Expr:
    """Row 0: d0 - d2; 1: d1 + d2; 2: d2 - d1; 3: d1 - d3."""
    return value(_pick(row, (0, 1, 2, 1))) + _pick(row, (-1.0, 1.0, -1.0, -1.0)) * value(_pick(row, (2, 2, 1, 3)))


def _output_row(odd: tvm.ir.Expr, value: Callable[[tvm.ir.Expr], tvm.ir.Expr]) -> tvm.ir.Expr:
    """Even: m0 + m1 + m2; odd: m1 - m2 - m3."""
    return value(_pick(odd, (0, 1))) + _pick(odd, (1.0, -1.0)) * (value(odd + 1) + value(odd + 2))


def _pick(place: tvm.ir.Expr, values: Sequence[float]) -> tvm.ir.Expr:
    """The value at a place that is known once the loop over it is unrolled."""
    *others, found = [tirx.const(v, "float32" if isinstance(v, float) else str(place.ty.dtype)) for v in values]
    for at, value in reversed(list(enumerate(others))):
        found = tirx.Select(place == at, value, found)
    return found


def schedule_winograd(sch: Schedule, products: SBlockRV, machine: Registers) -> None:
    """One row of tiles at a time, so that what lies between the stages stays in the cache."""
    (inputs,), (result,) = sch.get_producers(products)[:1], sch.get_consumers(products)
    batch, y, x, channel = axes(sch, result).spatial
    (row, lower), (column, right) = (sch.split(loop, [None, 2]) for loop in (y, x))
    channels, lane = sch.split(channel, [None, machine.lanes])
    sch.reorder(batch, row, column, channels, lower, right, lane)
    for loop in (lower, right):
        sch.unroll(loop)
    sch.vectorize(lane)
    sch.annotate(result, STAGE, "result")
    sch.compute_at(products, row)
    sch.compute_at(inputs, row)
    _schedule_inputs(sch, inputs, machine)
    _schedule_products(sch, products, machine)


def _schedule_inputs(sch: Schedule, inputs: SBlockRV, machine: Registers) -> None:
    v, u, column, channel = sch.get_loops(inputs)[-4:]
    channels, lane = sch.split(channel, [None, machine.lanes])
    sch.reorder(column, channels, v, u, lane)
    for loop in (v, u):
        sch.unroll(loop)
    sch.vectorize(lane)


def _schedule_products(sch: Schedule, products: SBlockRV, machine: Registers) -> None:
    v, u, column, after, channel = sch.get_loops(products)[-5:]
    lengths = [int(sch.get(loop).extent) for loop in (column, after)]
    lanes = largest_divisor(lengths[1], machine.lanes)
    height, vectors = tile_size(lengths[:1], lengths[1] // lanes, machine.sums)
    columns, rows = sch.split(column, [None, height])
    tiles, vector, lane = sch.split(after, [None, vectors, lanes])
    sch.reorder(v, u, tiles, columns, channel, rows, vector, lane)
    written = sch.cache_write(products, 0, "local")
    sch.reverse_compute_at(written, columns)
    for loop in (rows, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    _, lane = sch.split(sch.get_loops(written)[-1], [None, lanes])
    sch.vectorize(lane)
    sch.decompose_reduction(products, channel)
