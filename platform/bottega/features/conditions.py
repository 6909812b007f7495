"""Conditions: which events an aggregation counts, as a small text that is data and no code.

`distance_mi >= 1 and payment in ('card', 'cash')`: comparisons of a column with a constant, joined by `and`. A null
fulfils no comparison, as in SQL. Both engines evaluate a condition here, once, on the events' columns.
"""

import ast
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, cast

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
_COMPARE = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_RULE = "Write column == constant (or !=, <, <=, >, >=, in (…)), joined by 'and'."


class Condition(msgspec.Struct, frozen=True):
    """One comparison of a column with a constant, or with several for `in`."""

    column: str
    operator: Operator
    constants: tuple[Constant, ...]

    def holds(self, what: str, table: "pd.DataFrame") -> np.ndarray:
        """Which rows fulfil it: (n,) bool; InvalidData where the column is of another type than the constant."""
        column = table[self.column]
        present = column.notna().to_numpy()
        text = isinstance(self.constants[0], str)
        numeric = column.dtype.kind in "iufb"
        if text == numeric or not (numeric or _is_text(column[present])):
            kind = "text" if text else "a number"
            raise InvalidData(
                f"{what}: a condition compares {self.column!r}, which is {column.dtype}, with {kind}.",
                next_step="Compare numbers with numbers and text with text.",
            )
        values = column.to_numpy(object)[present] if text else column.to_numpy(np.float64, na_value=np.nan)[present]
        found = np.zeros(len(table), bool)
        if self.operator == "in":
            found[present] = np.isin(values, np.array(self.constants, values.dtype))
        else:
            found[present] = _COMPARE[self.operator](values, self.constants[0])
        return found


def _is_text(column: "pd.Series") -> bool:
    return all(isinstance(value, str) for value in column)


@functools.lru_cache(maxsize=256)
def parse_where(text: str) -> tuple[Condition, ...]:
    """The conditions of a text, all of which must hold; none for an empty text.

    >>> parse_where("fare_usd > 0 and zone in (4, 7)")[1].constants
    (4, 7)
    """
    if not text:
        return ()
    try:
        parsed = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise InvalidInput(f"{text!r} is no condition.", next_step=_RULE) from None
    conjunction = isinstance(parsed, ast.BoolOp) and isinstance(parsed.op, ast.And)
    parts = cast(ast.BoolOp, parsed).values if conjunction else [parsed]
    return tuple(_condition(text, part) for part in parts)


def _condition(text: str, part: ast.expr) -> Condition:
    if not isinstance(part, ast.Compare) or len(part.ops) != 1 or not isinstance(part.left, ast.Name):
        raise InvalidInput(f"{text!r} is no condition: {ast.unparse(part)!r} compares no column.", next_step=_RULE)
    operator = _OPERATORS.get(type(part.ops[0]))
    try:
        given = ast.literal_eval(part.comparators[0])
    except ValueError:
        given = None
    several = operator == "in"
    constants = tuple(given) if several and isinstance(given, tuple | list) else (given,)
    kinds = {isinstance(constant, str) for constant in constants}
    if operator is None or not constants or len(kinds) != 1 or not all(isinstance(c, Constant) for c in constants):
        raise InvalidInput(f"{text!r} is no condition: {ast.unparse(part)!r} is not understood.", next_step=_RULE)
    check_name(f"A column of the condition {text!r}:", part.left.id)
    return Condition(part.left.id, operator, constants)
