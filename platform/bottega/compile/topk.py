"""Top-k: the largest (or smallest) k of each row, in order, without sorting the rest.

A heap keeps the best k seen so far, the worst of them on top. Most of a row is worse than that one, which a whole block
of values learns in one comparison; only what is better enters the heap (Knuth, The Art of Computer Programming, 5.2.3).
Value and position are one whole number, the key, so that equal values are in order of position without a further test.
"""

from __future__ import annotations

import tvm
from tvm.script import tirx as T

LANES = 64
"""Values compared with the worst of the heap at a time."""
_LOWEST = -(1 << 63)
_LOW_HALF = (1 << 32) - 1


@T.inline
def _sift(heap, state, size):
    """Put the key state[2] into a heap of `size` keys whose top is to go: smaller children rise until it fits."""
    state[0] = T.int64(0)
    state[1] = T.int64(1)
    while state[1] < size:
        state[1] = state[1] + T.Cast("int64", T.bitwise_and(state[1] + 1 < size, heap[state[1] + 1] < heap[state[1]]))
        if heap[state[1]] < state[2]:
            heap[state[0]] = heap[state[1]]
            state[0] = state[1]
            state[1] = 2 * state[0] + 1
        else:
            state[1] = size
    heap[state[0]] = state[2]


def top_k(values: int, k: int, largest: bool) -> tvm.tirx.PrimFunc:
    """A kernel from (rows, values) float32 to (rows, k) float32 and (rows, k) int64 positions, best first.

    Equal values are in order of position; NaN is larger than all numbers, as in torch. A key is the bits of the value
    as a whole number of the same order (those of negative numbers are flipped), all flipped where small is good; below
    them the position, flipped.
    """
    flip = 0 if largest else -1
    blocks = -(-values // LANES)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x: T.handle, v: T.handle, p: T.handle):  # type: ignore[no-untyped-def]
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        rows = T.int64()
        X = T.match_buffer(x, (rows, T.int64(values)), "float32")
        Value = T.match_buffer(v, (rows, T.int64(k)), "float32")
        Position = T.match_buffer(p, (rows, T.int64(k)), "int64")
        for row in range(rows):
            heap = T.alloc_buffer((k + 1,), "int64", scope="local")
            order = T.alloc_buffer((LANES,), "int32", scope="local")
            better = T.alloc_buffer((1,), "int32", scope="local")
            state = T.alloc_buffer((3,), "int64", scope="local")
            for i in range(k):
                heap[i] = T.int64(_LOWEST)
            for block in range(T.int64(blocks)):
                better[0] = 0
                for lane in range(T.int64(LANES)):
                    value = X[row, T.min(block * LANES + lane, T.int64(values - 1))]
                    bits = T.Select(value == T.float32(0), 0, T.reinterpret("int32", value))  # -0 and 0 are equal
                    order[lane] = bits ^ ((bits >> 31) & 0x7FFFFFFF) ^ flip
                for lane in range(T.int64(LANES)):
                    better[0] = better[0] + T.Cast("int32", order[lane] > T.Cast("int32", heap[0] >> T.int64(32)))
                if better[0] > 0:
                    for lane in range(T.min(T.int64(LANES), T.int64(values) - block * LANES)):
                        place = T.int64(_LOW_HALF) - (block * LANES + lane)
                        state[2] = T.bitwise_or(T.shift_left(T.Cast("int64", order[lane]), T.int64(32)), place)
                        if state[2] > heap[0]:
                            _sift(heap, state, T.int64(k))
            for taken in range(T.int64(k)):
                last = T.int64(k - 1) - taken
                place = T.int64(_LOW_HALF) - T.bitwise_and(heap[0], T.int64(_LOW_HALF))
                Position[row, last] = place
                Value[row, last] = X[row, place]
                state[2] = heap[last]
                _sift(heap, state, last)

    return kernel
