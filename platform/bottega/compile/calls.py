"""Bound calls: a native function with buffers of its own, so that a call copies rows in, jumps, and copies rows out.

Making an argument costs more than many a call; a bound call makes them once. The buffers are written by each call, so
every thread has a set of its own, kept for each number of rows that it has seen up to a limit.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bottega.compile.library import NativeFunction, aligned, tensor
from bottega.compile.manifest import Tensor
from bottega.compile.tensors import DTYPES, is_batched, shape_of

KEPT_ROWS = 256
"""Calls of more rows than this are bound anew each time, so that a thread keeps at most this many."""


@dataclass(frozen=True)
class Native:
    """A native function, and its constants as arguments."""

    function: NativeFunction
    constants: tuple[object, ...]


class BoundCall:
    """Arrays `inputs` and `outputs`: fill the first, call, read the second."""

    __slots__ = ("_arguments", "_function", "inputs", "outputs")

    def __init__(self, native: Native, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._function = native.function
        self._arguments = (*map(tensor, inputs), *native.constants, *map(tensor, outputs))

    def __call__(self) -> None:
        self._function(*self._arguments)


class CallsOfThread(threading.local):
    """The bound calls of each thread, by number of rows."""

    def __init__(self, bind: Callable[[int], BoundCall]) -> None:
        self._bind = bind
        self._calls: dict[int, BoundCall] = {}

    def get(self, rows: int) -> BoundCall:
        """The call for `rows` rows."""
        call = self._calls.get(rows)
        if call is None:
            call = self._bind(rows)
            if rows <= KEPT_ROWS:
                self._calls[rows] = call
        return call


def column_function(native: Native, inputs: int, outputs: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """A numeric function of the plan: (batch,) float64 columns in, fresh (batch,) float64 columns out."""

    def bind(rows: int) -> BoundCall:
        columns = [[aligned((rows,), np.float64) for _ in range(count)] for count in (inputs, outputs)]
        return BoundCall(native, columns[0], columns[1])

    calls = CallsOfThread(bind)

    def run(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
        call = calls.get(len(columns[0]))
        for buffer, column in zip(call.inputs, columns, strict=True):
            buffer[:] = column
        call()
        return tuple(buffer.copy() for buffer in call.outputs)

    return run


def matrix_function(native: Native, width: int, outputs: int, rows: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A model: (batch, width) float32 to fresh (batch, outputs) float32.

    `rows` is the number of rows that the function takes, if that is fixed: at least the batch. The rows beyond it are
    what the last call left there; the answer does not hold theirs.
    """

    def bind(rows: int) -> BoundCall:
        return BoundCall(native, [aligned((rows, width), np.float32)], [aligned((rows, outputs), np.float32)])

    calls = CallsOfThread(bind)

    def run(features: np.ndarray) -> np.ndarray:
        batch = len(features)
        call = calls.get(rows or batch)
        call.inputs[0][:batch] = features
        call()
        return call.outputs[0][:batch].copy()

    return run


def tensor_function(
    native: Native, inputs: Sequence[Tensor], outputs: Sequence[Tensor], rows: int = 0
) -> Callable[[Sequence[np.ndarray], int], list[np.ndarray]]:
    """A model of any tensors: arrays and the rows of their batch to fresh arrays; `rows` as in `matrix_function`."""
    batched_inputs, batched_outputs = [list(map(is_batched, tensors)) for tensors in (inputs, outputs)]

    def bind(rows: int) -> BoundCall:
        buffers = [[aligned(shape_of(t, rows), DTYPES[t.datatype]) for t in tensors] for tensors in (inputs, outputs)]
        return BoundCall(native, buffers[0], buffers[1])

    calls = CallsOfThread(bind)

    def run(arrays: Sequence[np.ndarray], batch: int) -> list[np.ndarray]:
        call = calls.get(rows or batch)
        for buffer, array, batched in zip(call.inputs, arrays, batched_inputs, strict=True):
            if batched:
                buffer[:batch] = array
            else:
                buffer[...] = array
        call()
        answers = zip(call.outputs, batched_outputs, strict=True)
        return [buffer[:batch].copy() if batched else buffer.copy() for buffer, batched in answers]

    return run
