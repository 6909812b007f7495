"""A model of named tensors: cuts a batch by the manifest's buckets and runs each part on its bucket's engine."""

import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bottega.compile.calls import Native, tensor_function
from bottega.compile.manifest import Bucket, Tensor
from bottega.compile.tensors import DTYPES, is_batched, shape_of

RunTensors = Callable[[Sequence[np.ndarray], int], list[np.ndarray]]
"""Inputs in order and the rows of their batch, to outputs in order."""


class TensorModel:
    """Inputs in the manifest's order to outputs in its order, of any batch.

    `natives` are the artefact's functions; `open_reference` opens the ONNX model, when it is first needed. It takes
    any number of rows at once, so where it is the engine nothing is cut.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        buckets: Sequence[Bucket],
        natives: Mapping[str, Native],
        open_reference: Callable[[], RunTensors],
    ) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._batched = [is_batched(tensor) for tensor in inputs]
        self._open_reference = open_reference
        self._opened: RunTensors | None = None
        self._batches = [bucket.batch for bucket in buckets]
        self._engines = [self._engine(bucket, natives) for bucket in buckets]

    def __call__(self, arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """The outputs for checked inputs of a batch of `rows`; empty arrays for none."""
        engine, most = self._engines[self._bucket(rows)]
        if 0 < rows <= most:
            return engine(arrays, rows)
        if not rows:
            return [np.zeros(shape_of(tensor, 0), DTYPES[tensor.datatype]) for tensor in self._outputs]
        parts, start = [], 0
        while start < rows:
            engine, most = self._engines[self._bucket(rows - start)]
            end = min(rows, start + most)
            parts.append(engine(self._cut(arrays, start, end), end - start))
            start = end
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def _cut(self, arrays: Sequence[np.ndarray], start: int, end: int) -> list[np.ndarray]:
        """These rows of what has a batch, all of what has none."""
        both = zip(arrays, self._batched, strict=True)
        return [array[start:end] if batched else array for array, batched in both]

    def _bucket(self, rows: int) -> int:
        return min(bisect_left(self._batches, rows), len(self._batches) - 1)

    def _engine(self, bucket: Bucket, natives: Mapping[str, Native]) -> tuple[RunTensors, int]:
        """The engine and the most rows that it takes at once."""
        native = natives.get(bucket.entry)
        if bucket.engine == "tvm" and native is not None:
            function = tensor_function(native, self._inputs, self._outputs, bucket.rows)
            return function, bucket.rows or bucket.batch
        return self._run_reference, sys.maxsize

    def _run_reference(self, arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        if self._opened is None:
            self._opened = self._open_reference()
        return self._opened(arrays, rows)
