"""Conditions: which events an aggregation counts, as a small text that is data and no code.

`distance_mi >= 1 and payment in ('card', 'cash')`: comparisons of a column with a constant, joined by `and`. A null
fulfils no comparison, as in SQL. Both engines evaluate a condition here, once, on the events' columns.
"""

import ast
import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np

from bottega.errors import InvalidData, InvalidInput
from bottega.features.checks import check_name

if TYPE_CHECKING:
    import pandas as pd

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
Constant = float | int | str | bool
_OPERATORS: Mapping[type, Operator] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
}
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda column, constants: column.isin(constants),
}
LONGEST = 1000
"""Most characters of a condition."""
_RULE = "Write column == constant (or !=, <, <=, >, >=, in (…)), joined by 'and'."


class Condition(msgspec.Struct, frozen=True):
    """One comparison of a column with a constant, or with several for `in`."""

    column: str
    operator: Operator
    constants: tuple[Constant, ...]

    def holds(self, what: str, columns: "Mapping[str, pd.Series] | pd.DataFrame") -> np.ndarray:
        """Which rows fulfil it: (n,) bool; InvalidData where the column is of another type than the constant.

        Numbers compare as 64-bit floats, text by code points.
        """
        column = columns[self.column]
        if column.dtype.name == "category":
            column = column.astype(object)
        text = isinstance(self.constants[0], str)
        present = column.notna().to_numpy()
        given = column if present.all() else column[present]
        numeric = column.dtype.kind in "iufb"
        if text == numeric or not (numeric or _is_text(given)):
            kind = "text" if text else "a number"
            raise InvalidData(
                f"{what}: a condition compares {self.column!r}, which is {column.dtype}, with {kind}.",
                next_step="Compare numbers with numbers and text with text.",
            )
        values = given.astype(np.float64) if numeric else given
        constants = [float(constant) for constant in self.constants] if numeric else list(self.constants)
        found = np.zeros(len(column), bool)
        compared = _COMPARE[self.operator](values, constants if self.operator == "in" else constants[0])
        found[present] = compared.to_numpy(bool)
        return found


def _is_text(column: "pd.Series") -> bool:
    from pandas.api.types import infer_dtype  # here, so that a declaration is light to import

    return infer_dtype(column) in ("string", "empty")


@functools.lru_cache(maxsize=256)
def parse_where(text: str) -> tuple[Condition, ...]:
    """The conditions of a text, all of which must hold; none for an empty text.

    >>> parse_where("fare_usd > 0 and zone in (4, 7)")[1].constants
    (4, 7)
    """
    if not text:
        return ()
    if len(text) > LONGEST:
        raise InvalidInput(f"A condition has {len(text)} characters.", next_step=f"The limit is {LONGEST}.")
    try:
        parsed = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidInput(f"{text!r} is no condition.", next_step=_RULE) from None
    conjunction = isinstance(parsed, ast.BoolOp) and isinstance(parsed.op, ast.And)
    parts = cast(ast.BoolOp, parsed).values if conjunction else [parsed]
    return tuple(_condition(text, part) for part in parts)


def _condition(text: str, part: ast.expr) -> Condition:
    if not isinstance(part, ast.Compare) or len(part.ops) != 1 or not isinstance(part.left, ast.Name):
        raise InvalidInput(
            f"{text!r} is no condition: {ast.get_source_segment(text, part)!r} compares no column.", next_step=_RULE
        )
    compared = _OPERATORS.get(type(part.ops[0]))
    try:
        given = ast.literal_eval(part.comparators[0])
    except (ValueError, TypeError, RecursionError):
        given = None
    constants = tuple(given) if compared == "in" and isinstance(given, tuple | list) else (given,)
    one_kind = len({isinstance(constant, str) for constant in constants}) == 1
    if compared is None or not one_kind or not all(map(_is_constant, constants)):
        raise InvalidInput(
            f"{text!r} is no condition: {ast.get_source_segment(text, part)!r} is not understood.", next_step=_RULE
        )
    check_name(f"A column of the condition {text!r}:", part.left.id)
    return Condition(part.left.id, compared, constants)


def _is_constant(value: object) -> bool:
    """Text, a truth value, or a number that a 64-bit float holds as well as any."""
    if isinstance(value, str | bool):
        return True
    return isinstance(value, int | float) and abs(value) < 2**63 and math.isfinite(value)
