"""Scheduling products of packed int8 weights: tiles of int32 sums that stay in registers, as for float32.

Where the CPU has AVX512-VNNI, one instruction multiplies 16 columns by 4 rows and adds to 16 sums: four times what a
float32 instruction does. Without it the same loops are left to LLVM: exact as well, only slower.
"""

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bottega.compile import dot
from bottega.compile.integer import LANES, PACKED
from bottega.compile.loops import Registers, axes, extent
from bottega.compile.reductions import cut, merge, tile_size


def is_packed(sch: Schedule, block: SBlockRV) -> bool:
    """Whether the block is a product of packed weights."""
    return PACKED in sch.get(block).annotations


def schedule_packed(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """Tiles of rows by blocks of columns; the reduction runs around each tile, the epilogue right after it."""
    loops, consumers = axes(sch, block), sch.get_consumers(block)
    *outer, last = loops.spatial
    *rows, vectors = tile_size([extent(sch, loop) for loop in outer], extent(sch, last) // LANES, machine.sums)
    tiles, inside = cut(sch, outer, rows)
    column, vector, lane = sch.split(last, [None, vectors, LANES])
    tiles, inside = [*tiles, column], [*inside, vector]
    depth, part = loops.reductions
    sch.reorder(*tiles, depth, *inside, lane, part)
    written = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(written, tiles[-1])
    if len(consumers) == 1 and not axes(sch, consumers[0]).reductions:
        merge(sch, consumers[0])
    for loop in inside:
        sch.unroll(loop)
    if epilogue := sch.get_loops(written)[len(tiles) :]:
        _, across = sch.split(epilogue[-1], [None, LANES])
        sch.vectorize(across)
    started = sch.decompose_reduction(block, depth)
    sch.vectorize(sch.get_loops(started)[-1])
    if machine.vnni:
        sch.unannotate(block, PACKED)
        sch.tensorize(lane, dot.vnni())
