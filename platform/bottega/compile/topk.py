"""Top-k: the largest (or smallest) k of each row, in order, without sorting the rest.

A value's key is a whole number of the same order, so that a threshold can be found bit by bit: a bit belongs to it if
at least k keys are not below. Counting runs at the speed of memory and asks nothing that a processor would have to
guess. First the k-th largest of the maxima of blocks is found so: whatever is below cannot be among the best k. Few
values are left; the same search among them finds exactly k, and each one's place is the number of better ones.
Counting places costs k * k steps; for larger k a heap keeps the best k seen so far, the worst of them on top (Knuth,
The Art of Computer Programming, 5.2.3).
"""

from __future__ import annotations

import tvm
from tvm.script import tirx as T

LANES = 64
"""Values compared with the worst of the heap at a time."""
COUNTED = 256
"""Largest k whose places are counted."""
_LOWEST = -(1 << 63)
_LOW_HALF = (1 << 32) - 1


def top_k(values: int, k: int, largest: bool) -> tvm.tirx.PrimFunc:
    """A kernel from (rows, values) float32 to (rows, k) float32 and (rows, k) int64 positions, best first.

    Equal values are in order of position; NaN is larger than all numbers, as in torch. A value's order is its bits as a
    whole number (those of negative numbers are flipped), all flipped where small is good; its key is the order, and
    below it the position, flipped, so that all keys differ.
    """
    return by_threshold(values, k, largest) if k <= COUNTED else by_heap(values, k, largest)


@T.inline
def _order(found, place, value, flip):
    """-0 and 0 are equal."""
    bits = T.Select(value == T.float32(0), 0, T.reinterpret("int32", value))
    found[place] = bits ^ ((bits >> 31) & 0x7FFFFFFF) ^ flip


def by_threshold(values: int, k: int, largest: bool) -> tvm.tirx.PrimFunc:
    """`top_k` by thresholds: of the maxima of blocks, then of what reaches that one."""
    flip = 0 if largest else -1
    width = 1
    while width < 16 and values // (2 * width) >= 2 * k:
        width *= 2
    blocks = -(-values // width)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x: T.handle, v: T.handle, p: T.handle):  # type: ignore[no-untyped-def]
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        rows = T.int64()
        X = T.match_buffer(x, (rows, T.int64(values)), "float32")
        Value = T.match_buffer(v, (rows, T.int64(k)), "float32")
        Position = T.match_buffer(p, (rows, T.int64(k)), "int64")
        order = T.alloc_buffer((blocks * width,), "int32")
        maximum = T.alloc_buffer((blocks,), "int32")
        left = T.alloc_buffer((values + 1,), "int64")
        best = T.alloc_buffer((k + 1,), "int64")
        for row in range(rows):
            count = T.alloc_buffer((2,), "int64", scope="local")  # of what is left, and another one
            few = T.alloc_buffer((2,), "int32", scope="local")  # a threshold of orders, and how many reach it
            threshold = T.alloc_buffer((1,), "int64", scope="local")
            for i in range(T.int64(values)):
                _order(order, i, X[row, i], flip)
            for i in range(T.int64(blocks * width - values)):
                order[values + i] = T.int32(-(1 << 31))
            for block in range(T.int64(blocks)):
                maximum[block] = order[block * width]
                for i in range(T.int64(width - 1)):
                    maximum[block] = T.max(maximum[block], order[block * width + i + 1])
            few[0] = T.int32(-(1 << 31))
            for bit in range(32):
                few[1] = 0
                for block in range(T.int64(blocks)):
                    few[1] = few[1] + T.Cast("int32", maximum[block] >= few[0] ^ T.shift_left(1, 31 - bit))
                if few[1] >= k:
                    few[0] = few[0] ^ T.shift_left(1, 31 - bit)
            count[0] = T.int64(0)
            for block in range(T.int64(blocks)):
                if maximum[block] >= few[0]:
                    for i in range(T.min(T.int64(width), T.int64(values) - block * width)):
                        place = T.int64(_LOW_HALF) - (block * width + i)
                        left[count[0]] = T.bitwise_or(T.Cast("int64", order[block * width + i]) << T.int64(32), place)
                        count[0] = count[0] + T.Cast("int64", order[block * width + i] >= few[0])
            threshold[0] = T.int64(_LOWEST)
            for bit in range(T.int64(64)):
                count[1] = T.int64(0)
                for i in range(count[0]):
                    count[1] = count[1] + T.Cast("int64", left[i] >= threshold[0] ^ (T.int64(1) << (T.int64(63) - bit)))
                if count[1] >= k:
                    threshold[0] = threshold[0] ^ (T.int64(1) << (T.int64(63) - bit))
            count[1] = T.int64(0)
            for i in range(count[0]):
                best[count[1]] = left[i]
                count[1] = count[1] + T.Cast("int64", left[i] >= threshold[0])
            for i in range(T.int64(k)):
                count[0] = T.int64(0)
                for other in range(T.int64(k)):
                    count[0] = count[0] + T.Cast("int64", best[other] > best[i])
                place = T.int64(_LOW_HALF) - T.bitwise_and(best[i], T.int64(_LOW_HALF))
                Position[row, count[0]] = place
                Value[row, count[0]] = X[row, place]

    return kernel


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


def by_heap(values: int, k: int, largest: bool) -> tvm.tirx.PrimFunc:
    """`top_k` by a heap."""
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
                    _order(order, lane, X[row, T.min(block * LANES + lane, T.int64(values - 1))], flip)
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
