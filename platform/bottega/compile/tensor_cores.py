"""Tensor cores: the schedule of a half-precision product on CUDA.

A warp multiplies fragments of 16 x 16 at once (`wmma`). A block of warps computes one tile of the result: it walks
along the sum, copies a strip of both operands into shared memory, loads fragments from there, and adds up in float32.
TVM's own rule leaves products with a side of 64 or less to ordinary arithmetic, which a model with 64-wide layers
never escapes; this one takes every product with sides of at least 16, in tiles no larger than the product.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir.dlight.analysis import get_root_block
from tvm.s_tir.dlight.gpu.base import GPUScheduleRule
from tvm.s_tir.dlight.gpu.matmul import (
    IterKind,
    auto_inline_consumer_chain,
    auto_inline_producers,
    detect_iter_traits,
    get_reduction_blocks,
    make_iter_fusion_index_map,
)
from tvm.target import Target

FRAGMENT = 16
WARP = 32
VECTOR = 4  # halves that a thread copies at once
TILE, STRIP = 64, 64  # sides of a block's result, and how much of the sum it takes in one step
BATCH, ROW, COLUMN, SUM = IterKind.kIter_S, IterKind.kIter_I, IterKind.kIter_J, IterKind.kIter_K


class TensorCores(GPUScheduleRule):
    """Schedules products of float16 matrices, summed in float32; leaves everything else to the rules that follow."""

    def apply(self, func: tirx.PrimFunc, target: Target, _: bool) -> s_tir.Schedule | None:
        """The schedule, or None for a function that is no such product."""
        if not isinstance(func, tirx.PrimFunc) or not self.is_target_available(target):
            return None
        schedule = s_tir.Schedule(func)
        product = _product(schedule)
        return None if product is None else _tensorize(schedule, product)


def _product(schedule: s_tir.Schedule) -> Any | None:
    """The one block of `schedule` that multiplies matrices large enough for a fragment."""
    found = get_reduction_blocks(schedule, schedule.get_child_blocks(get_root_block(schedule)))
    if not found:
        return None
    block = schedule.get(found[0])
    traits = detect_iter_traits(block)
    kinds = [region.source.dtype for region in (*block.reads, *block.writes)]
    if traits is None or kinds != ["float16", "float16", "float32"]:
        return None
    return found[0] if min(_sides(traits[3])) >= FRAGMENT else None


def _sides(traits: Sequence[Any]) -> list[int]:
    """Rows, columns and length of the sum; 0 for one that depends on the call."""
    sides = {ROW: 1, COLUMN: 1, SUM: 1}
    for trait in traits:
        if trait.kind in sides:
            sides[trait.kind] *= int(trait.extent) if isinstance(trait.extent, tirx.IntImm) else 0
    return list(sides.values())


def _tensorize(schedule: s_tir.Schedule, product: Any) -> s_tir.Schedule:
    intrinsics_of = _wmma()
    (rows, columns, length), by_columns = _normalise(schedule, product)
    tile_i, tile_j, strip = _fitting(rows, TILE), _fitting(columns, TILE), _fitting(length, STRIP)
    schedule.pad_einsum(product, [1, tile_i, tile_j, strip])

    batch, i, j, k = schedule.get_loops(product)
    i, inner_i = schedule.split(i, [None, FRAGMENT])
    j, inner_j = schedule.split(j, [None, FRAGMENT])
    k, inner_k = schedule.split(k, [None, FRAGMENT])
    schedule.reorder(batch, i, j, k, inner_i, inner_j, inner_k)
    fragments = schedule.blockize(inner_i)

    warps_i, warps_j = min(2, tile_i // FRAGMENT), min(2, tile_j // FRAGMENT)
    block_i, warp_i, fragment_i = schedule.split(i, [None, warps_i, tile_i // FRAGMENT // warps_i])
    block_j, warp_j, fragment_j = schedule.split(j, [None, warps_j, tile_j // FRAGMENT // warps_j])
    step, within = schedule.split(k, [None, strip // FRAGMENT])
    schedule.reorder(batch, block_i, block_j, warp_i, warp_j, step, within, fragment_i, fragment_j)
    block, warp = schedule.fuse(block_i, block_j), schedule.fuse(warp_i, warp_j)
    schedule.bind(batch, "blockIdx.y")
    schedule.bind(block, "blockIdx.x")
    schedule.bind(warp, "threadIdx.y")

    for operand in (0, 1):
        _copy_to_shared(schedule, fragments, operand, step, warps_i * warps_j)
    intrinsics = intrinsics_of("shared.dyn", "shared", "float16", "float32", trans_b=by_columns)
    for operand, name in enumerate(("a", "b")):
        loaded = schedule.cache_read(fragments, operand, f"wmma.matrix_{name}")
        schedule.compute_at(loaded, within)
        schedule.tensorize(_fragment_loop(schedule, loaded), intrinsics[f"load_{name}"])

    written = schedule.cache_write(fragments, 0, "shared")
    stored = schedule.cache_write(fragments, 0, "wmma.accumulator")
    schedule.reverse_compute_at(stored, warp)
    schedule.reverse_compute_at(written, warp)
    zeros = schedule.decompose_reduction(fragments, step)
    schedule.tensorize(schedule.get_loops(schedule.get_child_blocks(zeros)[0])[-2], intrinsics["init"])
    schedule.tensorize(_fragment_loop(schedule, stored), intrinsics["store"])
    schedule.tensorize(schedule.get_loops(product)[-3], intrinsics["compute"])

    auto_inline_consumer_chain(schedule, written)
    _, lane, vector = schedule.split(schedule.fuse(*schedule.get_loops(written)[-2:]), [None, WARP, VECTOR])
    schedule.bind(lane, "threadIdx.x")
    schedule.vectorize(vector)
    return schedule


def _wmma() -> Callable[..., dict[str, str]]:
    """TVM's intrinsics. Importing them parses 180 functions, and for each frame of the import `inspect` would search
    all modules for its file: told where the import system's own frames are, it needs a quarter of the time."""
    for name in ("_bootstrap", "_bootstrap_external"):
        inspect.modulesbyfile.setdefault(f"<frozen importlib.{name}>", f"importlib.{name}")
    from tvm.s_tir.tensor_intrin.cuda import get_wmma_intrin_group

    return get_wmma_intrin_group


def _normalise(schedule: s_tir.Schedule, product: Any) -> tuple[list[int], bool]:
    """Make the product C[batch, i, j] += A[batch, i, k] * B: its rows, columns and length, and whether B is [j, k].

    B keeps the order that it has in memory, [k, j] or [j, k], so that neighbouring threads read neighbouring numbers.
    """
    by_columns = _innermost(schedule.get(product)) == SUM
    copies = [schedule.reindex(product, ("read", operand)) for operand in (0, 1)]
    result = schedule.reindex(product, ("write", 0))
    first, second, third, whole = detect_iter_traits(schedule.get(product))
    orders = [(first, [BATCH, ROW, SUM]), (second, [BATCH, COLUMN, SUM] if by_columns else [BATCH, SUM, COLUMN])]
    for copy, (traits, order) in zip(copies, orders, strict=True):
        schedule.transform_layout(copy, ("write", 0), make_iter_fusion_index_map(traits, order))
    schedule.transform_layout(result, ("read", 0), make_iter_fusion_index_map(third, [BATCH, ROW, COLUMN]))
    schedule.transform_block_layout(product, make_iter_fusion_index_map(whole, [BATCH, ROW, COLUMN, SUM]))
    return _sides(whole), by_columns


def _innermost(block: Any) -> IterKind | None:
    """What runs along the last dimension of B."""
    index = block.reads[1].region[-1].min
    kinds = zip(block.iter_vars, detect_iter_traits(block)[3], strict=True)
    return next((trait.kind for axis, trait in kinds if axis.var.same_as(index)), None)


def _fitting(side: int, largest: int) -> int:
    """The side of a tile: `largest`, or what holds all of a smaller matrix in fragments, a power of two of them."""
    fragments = 1
    while fragments * FRAGMENT < min(side, largest):
        fragments *= 2
    return fragments * FRAGMENT


def _copy_to_shared(schedule: s_tir.Schedule, fragments: Any, operand: int, step: Any, warps: int) -> None:
    """All threads of a block copy the strip of an operand that the block needs for one step."""
    copied = schedule.cache_read(fragments, operand, "shared.dyn")
    schedule.compute_at(copied, step)
    numbers = schedule.fuse(*schedule.get_loops(copied)[-2:])
    _, warp, lane, vector = schedule.split(numbers, [None, warps, WARP, VECTOR])
    schedule.bind(warp, "threadIdx.y")
    schedule.bind(lane, "threadIdx.x")
    schedule.vectorize(vector)
    schedule.storage_align(copied, 0, axis=-2, factor=16, offset=8)  # rows start in different banks
    auto_inline_producers(schedule, copied)


def _fragment_loop(schedule: s_tir.Schedule, block: Any) -> Any:
    """Split the two innermost loops of `block` by fragments; the loop over one fragment."""
    i, j = schedule.get_loops(block)[-2:]
    outer_i, inner_i = schedule.split(i, [None, FRAGMENT])
    outer_j, inner_j = schedule.split(j, [None, FRAGMENT])
    schedule.reorder(outer_i, outer_j, inner_i, inner_j)
    return inner_i
