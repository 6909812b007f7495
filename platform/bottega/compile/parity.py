"""Parity: the compiled model must answer as its reference does, on real rows and on fresh random ones."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from bottega.compile.manifest import Kind
from bottega.errors import IntegrityError

TOLERANCE: Mapping[Kind, float] = MappingProxyType({"trees": 1e-5, "network": 1e-5})
"""Largest relative error. Trees are sums of the same numbers; networks round differently at every layer."""

PLAIN_TOLERANCE = 1e-4
"""The same for a graph of any depth and of unknown weights."""
QUANTISED_TOLERANCE = 0.05
"""The same for a graph in whole numbers: where rounding gives a neighbour, everything after it moves by a step."""
FLIPPED = 0.02
"""Share of the whole numbers of an output (indices of the largest scores) that rounding may change."""


def probes(real: np.ndarray, rows: int, seed: int, *, missing_anywhere: bool) -> np.ndarray:
    """`rows` made-up model inputs: each column drawn from its own real values, or spread around them.

    (samples, features) float32 to (rows, features) float32. Columns of whole numbers (ids, hours) stay whole. Values
    are missing in every column, or only in those where real ones are: a network may not know what to do with others.
    """
    random = np.random.default_rng(seed)
    columns = []
    for column in real.T:
        present = column[np.isfinite(column)]
        present = present if len(present) else np.zeros(1, np.float32)
        drawn = random.choice(present, rows)
        if (present != np.round(present)).any():
            noise = random.normal(0.0, present.std() + 1e-3, rows)
            drawn = np.where(random.random(rows) < 0.5, drawn, drawn + noise)
        if missing_anywhere or len(present) < len(column):
            drawn = np.where(random.random(rows) < 0.05, np.nan, drawn)
        columns.append(drawn)
    return np.stack(columns, axis=1).astype(np.float32)


def relative_error(answer: np.ndarray, reference: np.ndarray) -> float:
    """Largest |answer - reference| of (rows,) or (rows, outputs), relative to the reference or to its output's typical
    size (root mean square), whichever is larger: near zero only the absolute error means something.

    Infinite where shapes differ, or where one is missing or infinite and the other is not.
    """
    answer, reference = np.asarray(answer, np.float64), np.asarray(reference, np.float64)
    if answer.shape != reference.shape:
        return float("inf")
    finite = np.isfinite(reference)
    counts = np.maximum(finite.sum(0), 1)
    typical = np.sqrt((np.where(finite, reference, 0.0) ** 2).sum(0) / counts)
    scale = np.maximum(np.abs(reference), np.maximum(typical, np.finfo(np.float64).tiny))
    with np.errstate(invalid="ignore"):
        error = np.abs(answer - reference) / scale
    same = (answer == reference) | (np.isnan(answer) & np.isnan(reference))
    error = np.where(same, 0.0, np.where(np.isfinite(error), error, np.inf))
    return float(error.max(initial=0.0))


def require(what: str, error: float, tolerance: float) -> None:
    """Raise IntegrityError unless the error is within the tolerance."""
    if not error <= tolerance:
        raise IntegrityError(
            f"{what} differs from its reference by {error:.1e} relative; at most {tolerance:.0e} is allowed.",
            next_step="The artefact was not written. This is a fault of the compiler: report the model package.",
        )


def tensor_error(answers: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """`relative_error` over tensors of any shape, relative to the typical size of all their elements.

    For whole numbers and truth values the share of those that differ, beyond the few that may: where two scores are
    equal but for rounding, either may be the larger one.
    """
    for answer, reference in zip(answers, references, strict=True):
        if answer.shape != reference.shape or answer.dtype != reference.dtype:
            return float("inf")
    answer, reference = (np.concatenate([one.ravel() for one in many]) for many in (answers, references))
    if reference.dtype.kind == "f":
        return relative_error(answer, reference)
    differing = float((answer != reference).mean()) if answer.size else 0.0
    return differing if differing > FLIPPED else 0.0
