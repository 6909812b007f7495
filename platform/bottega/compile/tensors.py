"""Tensors: named arrays are checked against what the manifest says before native code sees them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from bottega.compile.manifest import Tensor
from bottega.errors import InvalidInput

DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
        **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
        **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    }
)
"""numpy's types by the Open Inference Protocol's names."""
UNBOUNDED = (-(2**63), 2**63 - 1)
"""The range of an element that is no id."""


def is_batched(tensor: Tensor) -> bool:
    """Whether the first axis is the batch."""
    return tensor.shape[:1] == (-1,)


def shape_of(tensor: Tensor, rows: int) -> tuple[int, ...]:
    """The shape for a batch of `rows`."""
    return tuple(rows if size == -1 else size for size in tensor.shape)


class Check:
    """The checks of an artefact's inputs."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._rules = [_Rule(tensor) for tensor in inputs]
        self._names = {tensor.name for tensor in inputs}
        self._batched = any(map(is_batched, inputs))

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The arrays in the model's order, and the rows of the batch (1 where the model knows no batch).

        Raises InvalidInput, naming the tensor, the value and the rule.
        """
        if arrays.keys() != self._names:
            self._refuse_names(arrays)
        ordered = [arrays[rule.name] for rule in self._rules]
        rows = -1
        for rule, array in zip(self._rules, ordered, strict=True):
            rule.check_form(array)
            if rule.batched and rows not in (-1, len(array)):
                raise InvalidInput(
                    f"{rule.name!r} has {len(array)} rows, the tensors before it have {rows}.",
                    next_step="All tensors of a request have the same number of rows.",
                )
            rows = len(array) if rule.batched else rows
        for rule, array in zip(self._rules, ordered, strict=True):
            rule.check_values(array)
        return ordered, rows if self._batched else 1

    def _refuse_names(self, arrays: Mapping[str, np.ndarray]) -> NoReturn:
        missing = [rule.name for rule in self._rules if rule.name not in arrays]
        foreign = sorted(arrays.keys() - self._names)
        what = f"The input {missing[0]!r} is missing" if missing else f"The model has no input {foreign[0]!r}"
        raise InvalidInput(f"{what}.", next_step=f"Its inputs are {', '.join(rule.name for rule in self._rules)}.")


class _Rule:
    """What one input must be."""

    def __init__(self, tensor: Tensor) -> None:
        self.name, self.batched = tensor.name, is_batched(tensor)
        self._tensor, self._dtype = tensor, DTYPES[tensor.datatype]
        self._row = tensor.shape[1:] if self.batched else tensor.shape
        self._is_float = self._dtype.kind == "f"
        self._lowest, self._highest = self._bounds(tensor.lowest), self._bounds(tensor.highest)

    def _bounds(self, numbers: tuple[int, ...]) -> np.ndarray | None:
        """In the array's own kind, so that nothing is rounded: one number, or one for each element of a row."""
        if not numbers:
            return None
        exact = np.array(numbers, np.int64)
        if self._is_float:
            exact = np.where(np.isin(exact, UNBOUNDED), np.sign(exact) * np.inf, exact)
        return exact.reshape(() if len(exact) == 1 else self._row)

    def check_form(self, array: np.ndarray) -> None:
        """Type and shape."""
        if not isinstance(array, np.ndarray):
            raise InvalidInput(f"{self.name!r} is a {type(array).__name__}.", next_step="Give an array of numpy.")
        given = array.shape[1:] if self.batched and array.ndim else array.shape
        if array.dtype != self._dtype or given != self._row or array.ndim != len(self._tensor.shape):
            sizes = ", ".join("batch" if size == -1 else str(size) for size in self._tensor.shape)
            raise InvalidInput(
                f"{self.name!r} is {array.dtype} of shape {array.shape}.",
                next_step=f"Give {self._dtype} of shape ({sizes}).",
            )

    def check_values(self, array: np.ndarray) -> None:
        """Ids in their range, floats finite or, where the model knows what to do with them, missing."""
        if self._is_float and not np.isfinite(array).all():
            self._check_finite(array)
        if self._lowest is None or not array.size:
            return
        if (array < self._lowest).any() or (array > self._highest).any():
            self._refuse_id(array)

    def _check_finite(self, array: np.ndarray) -> None:
        bad = np.isinf(array) if self._tensor.missing else ~np.isfinite(array)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            allowed = "finite, or NaN where missing" if self._tensor.missing else "finite"
            raise InvalidInput(f"{self.name!r} is {array[place]} at {place}.", next_step=f"Its values are {allowed}.")

    def _refuse_id(self, array: np.ndarray) -> NoReturn:
        lowest, highest = (np.broadcast_to(np.asarray(bound), array.shape) for bound in (self._lowest, self._highest))
        place = tuple(int(i) for i in np.argwhere((array < lowest) | (array > highest))[0])
        raise InvalidInput(
            f"{self.name!r} is {array[place]} at {place}.",
            next_step=f"Ids there are from {lowest[place]:.0f} to {highest[place]:.0f}.",
        )
