"""The model alone: cuts a batch by the manifest's buckets and runs each part on its bucket's engine."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bottega.compile.calls import Native, matrix_function
from bottega.compile.manifest import Bucket
from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Predict


class Model:
    """(batch, features) float32 to (batch, outputs) float32, of any batch.

    `natives` are the artefact's functions; `open_reference` opens the ONNX model, when it is first needed.
    """

    def __init__(
        self,
        plan: FeaturePlan,
        buckets: Sequence[Bucket],
        natives: Mapping[str, Native],
        open_reference: Callable[[], Predict],
    ) -> None:
        self._names = plan.features
        self.width, self.outputs = len(self._names), plan.model().width
        self._open_reference = open_reference
        self._opened: Predict | None = None
        self._batches = [bucket.batch for bucket in buckets]
        self._parts = [bucket.rows or bucket.batch for bucket in buckets]
        self._engines = [self._engine(bucket, natives) for bucket in buckets]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The answers to rows that `check` lets pass, at least one."""
        rows = len(features)
        bucket = self._bucket(rows)
        if rows <= self._parts[bucket]:
            return self._engines[bucket](features)
        answers, start = [], 0
        while start < rows:
            bucket = self._bucket(rows - start)
            end = start + self._parts[bucket]
            answers.append(self._engines[bucket](features[start:end]))
            start = end
        return np.concatenate(answers)

    def check(self, features: np.ndarray) -> None:
        """Raise InvalidInput unless native code may see the matrix."""
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != self.width:
            raise InvalidInput(
                f"The features are {features.dtype} of shape {features.shape}.",
                next_step=f"Give float32 of shape (batch, {self.width}): {', '.join(self._names)}.",
            )
        if not len(features):
            raise InvalidInput("The batch is empty.", next_step="Give at least one row.")
        if np.isinf(features).any():
            row, column = np.argwhere(np.isinf(features))[0]
            raise InvalidInput(
                f"{self._names[column]} is {features[row, column]} in row {row}.",
                next_step="Features are finite, or NaN where missing.",
            )

    def _bucket(self, rows: int) -> int:
        return min(bisect_left(self._batches, rows), len(self._batches) - 1)

    def _engine(self, bucket: Bucket, natives: Mapping[str, Native]) -> Predict:
        native = natives.get(bucket.entry)
        if bucket.engine == "tvm" and native is not None:
            return matrix_function(native, self.width, self.outputs, bucket.rows)
        return self._run_reference

    def _run_reference(self, features: np.ndarray) -> np.ndarray:
        if self._opened is None:
            self._opened = self._open_reference()
        return self._opened(features)
