"""Matrix products as we want them computed: transposes read where they lie, large weights packed in panels.

A transpose before a product costs as much as a small product itself, and need not happen: the product asks for the same
numbers by other indices. A panel holds the weights of a few registers of columns, row after row, so that a tile reads
them in one stream; in the matrix they would lie a whole row apart (Goto and van de Geijn, "Anatomy of High-Performance
Matrix Multiplication", 2008).
"""

import numpy as np
import tvm
from tvm import relax, te
from tvm.ir import GenericConst

LANES = 16
PANELS = (6, 4, 5, 3, 2, 1)
"""Registers of `LANES` columns in a panel, the best first: with four to eight rows they fill the registers of a CPU."""
LARGE = 1 << 16
"""Weights from which a matrix is packed: fewer stay in the second-level cache in any order."""


def replace_product(builder: relax.BlockBuilder, call: tvm.ir.Call) -> relax.Expr | None:
    """A product of float32 matrices with packed weights, or without the transposes before it."""
    left, right = call.args
    if str(left.ty.dtype) != "float32" or str(right.ty.dtype) != "float32":
        return None
    weights = _array(right)
    if weights is not None and weights.ndim == 2 and left.ty.ndim >= 2:
        return _by_panels(builder, left, weights) if weights.size >= LARGE else None
    turned = [_turned(builder, side) for side in (left, right)]
    if turned == [None, None] or not _same_batch(left, right):
        return None
    sides = [side if source is None else source for side, source in zip((left, right), turned, strict=True)]
    return builder.call_te(
        multiply,
        *sides,
        left_turned=turned[0] is not None,
        right_turned=turned[1] is not None,
        primfunc_name_hint="matmul",
    )


def _by_panels(builder: relax.BlockBuilder, left: relax.Expr, weights: np.ndarray) -> relax.Expr | None:
    columns = weights.shape[1]
    if columns % LANES or not isinstance(left.ty.shape, relax.ShapeExpr):
        return None
    panel = LANES * next(count for count in PANELS if columns // LANES % count == 0)
    if panel == columns:
        return None
    return builder.call_te(multiply_packed, left, relax.const(pack(weights, panel)), primfunc_name_hint="matmul")


def pack(weights: np.ndarray, panel: int) -> np.ndarray:
    """(rows, columns) to (panels, rows, columns of a panel)."""
    rows, columns = weights.shape
    return np.ascontiguousarray(weights.reshape(rows, columns // panel, panel).transpose(1, 0, 2))


def multiply_packed(left: te.Tensor, packed: te.Tensor) -> te.Tensor:
    """(..., rows) by packed weights to (..., columns)."""
    panels, rows, panel = (int(size) for size in packed.shape)
    row = te.reduce_axis((0, rows), "row")

    def element(*index: tvm.tirx.Var) -> tvm.ir.Expr:
        *outer, column = index
        return te.sum(left(*outer, row) * packed(column // panel, row, column % panel), axis=row)

    return te.compute((*left.shape[:-1], panels * panel), element, name="matmul")


def multiply(left: te.Tensor, right: te.Tensor, left_turned: bool, right_turned: bool) -> te.Tensor:
    """The product of (..., n, k) and (..., k, m); a turned one is given with its last two axes exchanged."""
    depth = te.reduce_axis((0, left.shape[-2 if left_turned else -1]), "depth")

    def element(*index: tvm.tirx.Var) -> tvm.ir.Expr:
        *outer, row, column = index
        a = left(*outer, depth, row) if left_turned else left(*outer, row, depth)
        b = right(*outer, column, depth) if right_turned else right(*outer, depth, column)
        return te.sum(a * b, axis=depth)

    rows, columns = left.shape[-1 if left_turned else -2], right.shape[-2 if right_turned else -1]
    return te.compute((*left.shape[:-2], rows, columns), element, name="matmul")


def _turned(builder: relax.BlockBuilder, value: relax.Expr) -> relax.Expr | None:
    """What the value is the transpose of, where only the last two axes were exchanged."""
    call = builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.permute_dims":
        return None
    axes = list(range(value.ty.ndim))
    order = [int(axis) for axis in call.attrs.axes or reversed(axes)]
    return call.args[0] if order == [*axes[:-2], axes[-1], axes[-2]] else None


def _same_batch(left: relax.Expr, right: relax.Expr) -> bool:
    """Whether both have the same outer axes, of known sizes."""
    shapes = [side.ty.shape for side in (left, right)]
    if any(not isinstance(shape, relax.ShapeExpr) for shape in shapes):
        return False
    outer = [list(shape.values[:-2]) for shape in shapes]
    if any(isinstance(size, tvm.ir.Var) for sizes in outer for size in sizes):
        return False
    return [int(size) for size in outer[0]] == [int(size) for size in outer[1]]


def _array(value: relax.Expr) -> np.ndarray | None:
    return value.value.numpy() if isinstance(value, GenericConst) else None
