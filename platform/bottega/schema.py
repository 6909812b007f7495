"""Schemas of requests and answers: named, typed, with units and rules."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.times import parse_time, to_epoch_us

Datatype = Literal["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]
NUMPY_OF: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}


class Field(msgspec.Struct, frozen=True):
    """One field of a request or an answer.

    `datatype` is the Open Inference Protocol's name. A time (`is_time`) travels as text with an offset in JSON and as
    INT64 microseconds since 1970-01-01 UTC in tensors. `known_in` names the table of the plan that lists valid ids.
    """

    name: str
    datatype: Datatype
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    is_time: bool = False
    known_in: str = ""

    def column(self, values: Sequence[object], timezone: str | None = None) -> np.ndarray:
        """Values as they come from JSON or a command line, as a checked (batch,) column.

        Raises InvalidInput naming the field, the value and the rule.
        """
        if self.is_time:
            return np.array([to_epoch_us(parse_time(self._text(v), timezone)) for v in values], np.int64)
        if self.datatype == "BYTES":
            return np.array([self._text(v) for v in values], object)
        numbers = [self._number(v) for v in values]
        return np.array(numbers, NUMPY_OF[self.datatype])

    def check(self, column: np.ndarray) -> None:
        """Raise InvalidInput where a value of a numeric column is outside the field's range or not finite."""
        if column.dtype == object:
            return
        bad = np.zeros(len(column), bool)
        if column.dtype.kind == "f":
            bad |= ~np.isfinite(column)
        if self.minimum is not None:
            bad |= column < self.minimum
        if self.maximum is not None:
            bad |= column > self.maximum
        if bad.any():
            value = column[int(np.argmax(bad))]
            raise InvalidInput(f"{self.name} is {value!s}; it must be {self._range()}.")

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise InvalidInput(f"{self.name} is {value!r}; it must be text.")
        return value

    def _number(self, value: object) -> float | int | bool:
        if self.datatype == "BOOL":
            if not isinstance(value, bool):
                raise InvalidInput(f"{self.name} is {value!r}; it must be true or false.")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(f"{self.name} is {value!r}; it must be a number.")
        if self.datatype.startswith("INT"):
            if isinstance(value, float) and not value.is_integer():
                raise InvalidInput(f"{self.name} is {value!r}; it must be a whole number.")
            limits = np.iinfo(NUMPY_OF[self.datatype])
            if not limits.min <= value <= limits.max:
                raise InvalidInput(f"{self.name} is {value!r}; it must fit {self.datatype}.")
            return int(value)
        if not math.isfinite(value):
            raise InvalidInput(f"{self.name} is {value!r}; it must be finite.")
        return float(value)

    def _range(self) -> str:
        low = "" if self.minimum is None else f"at least {self.minimum:g}"
        high = "" if self.maximum is None else f"at most {self.maximum:g}"
        return " and ".join(part for part in ("finite" if not (low or high) else "", low, high) if part)
