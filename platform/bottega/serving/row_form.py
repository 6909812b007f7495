"""The common form of a use case's request in plain JSON: one object with each field once, and at most an id with them.

One typed decoder reads it. What is of another form is no error here: `rows.py` reads it, or says what is wrong.
"""

import math
from typing import Any

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.schema import NUMPY_OF, Field
from bottega.serving.rows import EXPLAIN, Rows, check_id, new_id
from bottega.times import parse_time, to_epoch_us

_TYPES: dict[str, type] = {"BOOL": bool, "INT32": int, "INT64": int, "FP32": float, "FP64": float, "BYTES": str}


class RowForm:
    """Reads single rows of one plan."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._fields = [(f"field_{i}", field) for i, field in enumerate(plan.request)]
        self._decoder = _decoder(self._fields) if all(map(_is_plain, plan.request)) else None
        self._colons = sum(1 + field.name.count(":") for field in plan.request)

    def read(self, body: bytes, header_id: str = "") -> Rows | None:
        """The row in a body, with `header_id` where it brings no id; None where it is of another form.

        Raises InvalidInput for an id that none can be.
        """
        if self._decoder is None:
            return None
        try:
            row = self._decoder.decode(body)
            if body.count(b":") != self._colons + _colons_of(row):
                return None  # it may give a field twice
            columns = {field.name: _column(field, getattr(row, place)) for place, field in self._fields}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, InvalidInput):
            return None
        given = row.id if row.id is not msgspec.UNSET else header_id
        return Rows(columns, (check_id(given) if given or row.id == "" else new_id(),), single=True)


def _colons_of(row: Any) -> int:
    """Colons in the texts of a row, and the one of its id, where it has one."""
    texts = [value for value in msgspec.structs.astuple(row) if isinstance(value, str)]
    return sum(text.count(":") for text in texts) + (row.id is not msgspec.UNSET)


def _is_plain(field: Field) -> bool:
    return not field.shape and not field.is_binary and field.name not in ("id", "rows", EXPLAIN)


def _decoder(fields: list[tuple[str, Field]]) -> msgspec.json.Decoder[Any]:
    members: list[Any] = [(place, str if field.is_time else _TYPES[field.datatype]) for place, field in fields]
    members.append(("id", str | msgspec.UnsetType, msgspec.UNSET))
    names = {place: field.name for place, field in fields}
    return msgspec.json.Decoder(msgspec.defstruct("Row", members, rename=names, forbid_unknown_fields=True))


def _column(field: Field, value: Any) -> np.ndarray:
    """One value as a column. Raises OverflowError, InvalidInput for one that the field does not take."""
    if field.is_time:
        return np.array([to_epoch_us(parse_time(value, None))], np.int64)
    if field.datatype == "BYTES":
        column = np.empty(1, object)
        column[0] = value
        return column
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    return np.array([value], NUMPY_OF[field.datatype])
