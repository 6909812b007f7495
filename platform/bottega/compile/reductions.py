"""Scheduling reductions: sums that stay in registers while the reduction runs."""

import itertools
import math
from collections.abc import Sequence

from tvm.error import InternalError
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bottega.compile.loops import (
    Registers,
    axes,
    divisors,
    extent,
    is_along,
    largest_divisor,
    output_variables,
    panel_width,
    reads,
    reduction_variables,
    uses,
)

_SHORTEST_FOLD = 4


def schedule_reduction(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """By tiles where the lanes of a register are neighbours in the output, else by partial sums."""
    (_tile if _is_columnwise(sch, block) else _fold)(sch, block, machine)


def _is_columnwise(sch: Schedule, block: SBlockRV) -> bool:
    """Whether the last output axis is the last axis of what is summed: then lanes are neighbours in memory."""
    definition = sch.get(block)
    variables = output_variables(definition)
    if not variables:
        return False
    along = [read for read in reads(definition) if read and is_along(read[-1], variables[-1])]
    return any(uses(place, reduction_variables(definition)) for read in along for place in read)


def _tile(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """Matrix products: tiles of rows by vectors; the reduction runs around each tile, the epilogue right after it.

    Each step of the reduction loads `vectors` registers of the second factor once and one number of the first factor
    for each row, for rows * vectors multiplications.
    """
    loops, consumers = axes(sch, block), sch.get_consumers(block)
    *outer, last = loops.spatial
    columns = extent(sch, last)
    lanes = largest_divisor(columns, machine.lanes)
    free = _shared_axes(sch, block)
    lengths = [extent(sch, loop) if shared else 1 for loop, shared in zip(outer, free, strict=True)]
    width = panel_width(sch.get(block), output_variables(sch.get(block))[-1]) or columns
    *rows, vectors = tile_size(lengths, width // lanes, machine.sums)
    tiles, inside = cut(sch, outer, rows)
    column, vector, lane = sch.split(last, [None, vectors, lanes])
    if all(free) and math.prod(lengths) < columns:
        tiles, inside = [column, *tiles], [*inside, vector]  # the larger factor is read once, the other one often
    else:
        tiles, inside = [*tiles, column], [*inside, vector]
    sch.reorder(*tiles, *loops.reductions, *inside, lane)
    written = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(written, tiles[-1])
    if len(consumers) == 1 and not axes(sch, consumers[0]).reductions:
        merge(sch, consumers[0])
    for loop in inside:
        sch.unroll(loop)
    sch.vectorize(lane)
    if epilogue := sch.get_loops(written)[len(tiles) :]:
        _, lane = sch.split(epilogue[-1], [None, largest_divisor(extent(sch, epilogue[-1]), lanes)])
        sch.vectorize(lane)
    sch.decompose_reduction(block, loops.reductions[0])


def cut(sch: Schedule, loops: Sequence[LoopRV], sizes: Sequence[int]) -> tuple[list[LoopRV], list[LoopRV]]:
    """Cut each loop into tiles of its size: the loops over tiles, and the loops inside."""
    pairs = [sch.split(loop, [None, size]) for loop, size in zip(loops, sizes, strict=True)]
    return [outside for outside, _ in pairs], [inside for _, inside in pairs]


def merge(sch: Schedule, consumer: SBlockRV) -> None:
    """Compute what uses the sums while they are still in registers, where it uses each of them once."""
    try:
        sch.reverse_compute_inline(consumer)
    except (ScheduleError, InternalError):  # the second where an axis of the consumer has length one
        return


def _shared_axes(sch: Schedule, block: SBlockRV) -> list[bool]:
    """For each outer output axis, whether the lanes read the same along it, as the weights of a layer are."""
    definition = sch.get(block)
    *outer, last = output_variables(definition)
    of_lanes = [place for read in reads(definition) if read and is_along(read[-1], last) for place in read]
    return [not any(place.same_as(variable) for place in of_lanes) for variable in outer]


def tile_size(rows: Sequence[int], vectors: int, sums: int) -> tuple[int, ...]:
    """Rows along each outer axis, then vectors: the most multiplications for each load that `sums` registers can hold.

    >>> tile_size([16, 17], 4, 24)
    (4, 1, 4)
    """
    best, worth = (*(1 for _ in rows), 1), (0.0, 0)
    widths = divisors(vectors, max(1, sums // 4))
    for size in itertools.product(*(divisors(length, sums) for length in rows), widths):
        height, width = math.prod(size[:-1]), size[-1]
        found = (height * width / (height + width), width)
        if height * width <= sums and found > worth:
            best, worth = size, found
    return best


def _fold(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """Dot products and means: as many partial sums as a register has lanes, added up at the end."""
    loops = axes(sch, block)
    lanes = largest_divisor(extent(sch, loops.reductions[-1]), machine.lanes)
    if lanes < _SHORTEST_FOLD or not str(sch.get(block).writes[0].source.dtype).startswith("float"):
        return  # LLVM reorders whole numbers by itself
    _, lane = sch.split(loops.reductions[-1], [None, lanes])
    partial = sch.rfactor(lane, len(loops.spatial))
    if loops.spatial:
        sch.compute_at(partial, loops.spatial[-1])
        lane, *around = sch.get_loops(partial)[len(loops.spatial) :]
        sch.reorder(*around, lane)
    else:
        *around, lane = sch.get_loops(partial)
    sch.vectorize(lane)
    if around:
        sch.decompose_reduction(partial, around[0])
    sch.unroll(sch.get_loops(block)[-1])
