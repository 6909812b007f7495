"""What a lab's checks.py is written with: named checks of one function each, and specific complaints.

    @check("area", "squares the radius")
    def squares(area):
        got = number(area(2.0), "area(2.0)")
        if math.isclose(got, 2 * math.pi):
            raise Wrong("area(2.0) is 6.28, that is pi times the radius.", hint="radius_not_squared")
        ...

A check receives the learner's function, calls it on small data of its own, and returns where all is well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Wrong(Exception):
    """The learner's function does not behave; `hint` names an entry of `[wrong]` in hints.toml."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Check:
    """One check: the function it is about, its name, and what it does with the learner's function."""

    function: str
    name: str
    run: Callable[[Callable[..., Any]], None]


def check(function: str, name: str) -> Callable[[Callable[[Callable[..., Any]], None]], Check]:
    """Make the decorated function the check `name` of the learner's `function`."""
    return lambda run: Check(function, name, run)


def number(value: object, what: str) -> float:
    """`value` as a float; Wrong where it is no single number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Wrong(f"{what} must be a number; it is {_named(value)}.") from None


def truth(value: object, what: str) -> bool:
    """`value` as a bool, numpy's included; Wrong where it is anything else."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise Wrong(f"{what} must be True or False; it is {_named(value)}.")
    return bool(value)


def numbers(value: object, count: int, what: str) -> "Any":
    """`value` as a (count,) float64 array; Wrong where it is not `count` numbers in a row."""
    import numpy as np

    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} must be {count} numbers; it is {_named(value)}.") from None
    if array.shape != (count,):
        raise Wrong(f"{what} must be {count} numbers, one for each row; it has shape {array.shape}.")
    return array


def table(value: object, columns: Sequence[str], what: str) -> "pd.DataFrame":
    """`value` as a data frame that has `columns`; Wrong where it is anything else."""
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        raise Wrong(f"{what} must be a table (pandas.DataFrame); it is {_named(value)}.")
    for column in columns:
        if column not in value.columns:
            raise Wrong(f"{what} has no column {column!r}; it has {', '.join(map(str, value.columns))}.")
    return value


def pair(value: object, what: str) -> tuple[object, object]:
    """`value` as two things; Wrong where it is not a tuple or list of two."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"{what} must return two things, `return first, second`; it returned {_named(value)}.")
    return value[0], value[1]


def _named(value: object) -> str:
    if value is None:
        return "None (is a `return` missing?)"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
