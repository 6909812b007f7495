"""Samples: made-up inputs of a model, to check its answers and to measure it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bottega.compile.manifest import Tensor
from bottega.compile.tensors import DTYPES, UNBOUNDED, shape_of
from bottega.compile.trees import Ensemble

Draw = Callable[[int, int], list[np.ndarray]]
"""Rows and a seed to valid inputs for a batch of so many rows, in order; the same for the same seed."""
_MISSING_SHARE = 0.05


@dataclass(frozen=True)
class Samples:
    """Inputs drawn from what the manifest says of them; integers of which it says nothing lie below `integers`."""

    inputs: Sequence[Tensor]
    integers: int

    def draw(self, rows: int, seed: int) -> list[np.ndarray]:
        """Valid inputs for a batch of `rows`, in order; the same for the same seed."""
        random = np.random.default_rng(seed)
        return [self._draw(tensor, shape_of(tensor, rows), random) for tensor in self.inputs]

    def _draw(self, tensor: Tensor, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        dtype = DTYPES[tensor.datatype]
        if dtype.kind == "b":
            return random.random(shape) < 0.5
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            small = dtype.itemsize == 1  # pixels, or quantised numbers: every value means something
            low, high = (int(limits.min), int(limits.max)) if small else (0, self.integers)
            drawn = random.integers(low, high, shape).astype(dtype)
        else:
            drawn = random.standard_normal(shape).astype(dtype)
        if tensor.lowest:
            drawn = np.where(self._is_id(tensor, shape), self._ids(tensor, shape, random), drawn).astype(dtype)
        if tensor.missing:
            drawn[random.random(shape) < _MISSING_SHARE] = np.nan
        return drawn

    @staticmethod
    def _is_id(tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(_of_row(tensor.highest, tensor) != UNBOUNDED[1], shape)

    @staticmethod
    def _ids(tensor: Tensor, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        lowest, highest = _of_row(tensor.lowest, tensor), _of_row(tensor.highest, tensor)
        known = highest != UNBOUNDED[1]
        return random.integers(np.where(known, lowest, 0), np.where(known, highest, 0), shape, endpoint=True)


def _of_row(numbers: tuple[int, ...], tensor: Tensor) -> np.ndarray:
    """One number, or one for each element of a row."""
    row = tensor.shape[1:] if tensor.shape[:1] == (-1,) else tensor.shape
    return np.array(numbers, np.int64).reshape(() if len(numbers) == 1 else row)


def draw_rows(ensemble: Ensemble, rows: int, seed: int) -> list[np.ndarray]:
    """Rows for trees: each number at a threshold that its column is compared with, just below it, or further off;
    each category one that is known, or none; both missing now and then."""
    random = np.random.default_rng(seed)
    matrix = np.empty((rows, ensemble.features), np.float32)
    inner = ensemble.child >= 0
    for column, categories in enumerate(ensemble.categories):
        if categories:
            matrix[:, column] = random.integers(-1, categories + 1, rows)
            continue
        thresholds = ensemble.threshold[inner & (ensemble.feature == column)]
        known = np.append(thresholds[np.isfinite(thresholds)], np.float32(0))
        drawn = random.choice(known, rows)
        below = np.nextafter(drawn, np.float32(-np.inf))
        further = drawn + random.normal(0, known.std() + 1e-3, rows).astype(np.float32)
        matrix[:, column] = np.choose(random.integers(0, 3, rows), [drawn, below, further])
    matrix[random.random(matrix.shape) < _MISSING_SHARE] = np.nan
    return [matrix]
