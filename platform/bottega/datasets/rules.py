"""Rules for rows: each row of a table is kept, or refused for the first declared rule that it breaks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from bottega.datasets.catalog import Check, Column

Values = Mapping[str, np.ndarray | pd.Series]
"""By our column names, each (rows,); NaN, NaT and NA are null."""


@dataclass(frozen=True)
class Verdict:
    """Which rule each row broke first."""

    reason: np.ndarray  # (rows,) int16: index into `reasons`, -1 where the row is good
    reasons: tuple[str, ...]

    @property
    def good(self) -> np.ndarray:
        """(rows,) bool: the rows that broke no rule."""
        return self.reason < 0

    def counts(self) -> dict[str, int]:
        """Refused rows by reason, in the order of the rules."""
        codes, counts = np.unique(self.reason[~self.good], return_counts=True)
        return {self.reasons[code]: int(count) for code, count in zip(codes, counts, strict=True)}


def first_broken(rows: int, reasons: Sequence[str], broken: Iterable[tuple[str, np.ndarray]]) -> np.ndarray:
    """The first rule that each row breaks, (rows,) int16, from the rules' (reason, (rows,) bool) in their order.

    >>> first_broken(3, ("null", "range"), [("null", np.array([1, 0, 0], bool)), ("range", np.array([1, 1, 0], bool))])
    array([ 0,  1, -1], dtype=int16)
    """
    reason = np.full(rows, -1, np.int16)
    for name, bad in broken:
        reason[bad & (reason < 0)] = reasons.index(name)
    return reason


def broken_by(
    check: Check, columns: Sequence[Column], values: Values, now: datetime | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """The rows that break a rule about values: `null`, `range`, `allowed`, `hour`, `past` (not after `now`); else none.

    A null breaks all but the first only in a column that must not be null, or that is not declared (a measure).
    """
    if check.kind == "null":
        for column in columns:
            if not column.nullable:
                yield f"{check.reason}_{column.name}", _null(values[column.name])
        return
    if check.kind not in ("range", "allowed", "past", "hour"):
        return
    declared = {column.name: column for column in columns}.get(check.column)
    found = values[check.column]
    match check.kind:
        case "range":
            good = _in_range(found, check, whole=declared is not None and declared.type == "integer")
        case "allowed":
            good = np.asarray(pd.Series(found).isin(list(check.values)))
        case "hour":
            times = pd.DatetimeIndex(found)
            good = np.asarray(times == times.floor("h"))
        case _:
            good = _true(found <= pd.Timestamp(now))
    yield check.reason, ~(good | _null(found)) if declared is not None and declared.nullable else ~good


def _null(values: np.ndarray | pd.Series) -> np.ndarray:
    return np.asarray(pd.isna(values))


def _true(compared: np.ndarray | pd.Series) -> np.ndarray:
    """Where a comparison is true: of a null it is not."""
    return pd.Series(compared).to_numpy(bool, na_value=False)


def _in_range(values: np.ndarray | pd.Series, check: Check, *, whole: bool) -> np.ndarray:
    good = np.isfinite(np.asarray(values)) if values.dtype.kind == "f" else ~_null(values)
    if check.minimum is not None:
        good &= _true(values >= check.minimum)
    if check.maximum is not None:
        good &= _true(values <= check.maximum)
    if check.above is not None:
        good &= _true(values > check.above)
    if whole and values.dtype.kind == "f":
        good &= _true(values == np.floor(values))
    return good
