"""What a maximum or minimum of floats starts from: an infinity.

TVM starts from the smallest finite number, so the maximum of nothing but -inf would be -3.4e38; masks of attention are
made of -inf. Its rules for schedules know a reduction by where it starts, so this is set right after them.
"""

from tvm import s_tir, tirx
from tvm_ffi import structural


def start_at_infinity(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with each reduction over floats that starts from a largest finite number starting beyond it."""
    return function.with_body(structural.structural_map(function.body, (s_tir.SBlock, _replace)))


def _replace(block: s_tir.SBlock) -> s_tir.SBlock:
    """A block that starts a reduction: by its `init`, or as a block of its own after the reduction was decomposed."""
    init, body = block.init, block.body
    if isinstance(init, tirx.BufferStore):
        init = _beyond(init)
    elif block.name_hint.endswith("_init") and isinstance(body, tirx.BufferStore):
        body = _beyond(body)
    if init is block.init and body is block.body:
        return block
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _beyond(store: tirx.BufferStore) -> tirx.BufferStore:
    value = store.value
    if not isinstance(value, tirx.FloatImm):
        return store
    kind = str(value.ty.dtype)
    if value.value == tirx.min_value(kind).value:
        return tirx.BufferStore(store.buffer, tirx.const(float("-inf"), kind), store.indices)
    if value.value == tirx.max_value(kind).value:
        return tirx.BufferStore(store.buffer, tirx.const(float("inf"), kind), store.indices)
    return store
