"""Schemas of requests and answers: named, typed, with units and rules."""

import base64
import binascii
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

_LIMITS = {
    name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) for name, kind in NUMPY_OF.items() if kind.kind == "i"
}


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a request or an answer.

    `datatype` is the Open Inference Protocol's name. A time (`is_time`) travels as text with an offset in JSON and as
    INT64 microseconds since 1970-01-01 UTC in tensors. `known_in` names the table of the plan that lists valid ids.

    With a `shape` a row has so many values, (8,) eight: a list in JSON, which may be shorter where `fill` says what the
    rest is. `is_binary` marks BYTES that are a file's content and no text: base64 in JSON. A field that is not
    `is_logged` stays out of the prediction log. `example` is a valid value as JSON gives it, where none is plain.
    """

    name: str
    datatype: Datatype
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    is_time: bool = False
    known_in: str = ""
    shape: tuple[int, ...] = ()
    fill: float | None = None
    is_binary: bool = False
    is_logged: bool = True
    example: str = ""

    def __post_init__(self) -> None:
        if len(self.shape) > 1 or any(size < 1 for size in self.shape):
            raise ValueError(f"the field {self.name!r} has the shape {self.shape}; it has one value a row, or a list")

    def column(self, values: Sequence[object], timezone: str | None = None) -> np.ndarray:
        """Values as they come from JSON or a command line, as a checked (batch,) column.

        Raises InvalidInput naming the field, the value and the rule.
        """
        if not self.shape:
            return self._flat(values, timezone)
        flat = self._flat([value for row in values for value in self._list(row)], timezone)
        return flat.reshape(len(values), *self.shape)

    def check(self, column: np.ndarray) -> None:
        """Raise InvalidInput where a value of a numeric column is outside the field's range or not finite."""
        if column.dtype == object:
            return
        bad = np.zeros(column.shape, bool)
        if column.dtype.kind == "f":
            bad |= ~np.isfinite(column)
        if self.minimum is not None:
            bad |= column < self.minimum
        if self.maximum is not None:
            bad |= column > self.maximum
        if bad.any():
            value = column.flat[int(np.argmax(bad))]
            raise InvalidInput(f"{self.name} is {value!s}; it must be {self._range()}.")

    def _flat(self, values: Sequence[object], timezone: str | None) -> np.ndarray:
        if self.is_time:
            return np.array([to_epoch_us(parse_time(self._text(v), timezone)) for v in values], np.int64)
        if self.datatype == "BYTES":
            column = np.empty(len(values), object)
            column[:] = [self._file(v) if self.is_binary else self._text(v) for v in values]
            return column
        return np.array([self._number(v) for v in values], NUMPY_OF[self.datatype])

    def _list(self, value: object) -> list[object]:
        (size,) = self.shape
        if not isinstance(value, list):
            raise InvalidInput(f"{self.name} is {str(value)[:80]!r}; it must be a list.")
        if len(value) > size or (len(value) < size and self.fill is None):
            allowed = str(size) if self.fill is None else f"at most {size}"
            raise InvalidInput(f"{self.name} has {len(value)} values; it must have {allowed}.")
        fill = int(self.fill or 0) if self.datatype.startswith("INT") else self.fill
        return [*value, *[fill] * (size - len(value))]

    def _file(self, value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return base64.b64decode(self._text(value), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInput(f"{self.name} is no base64.", next_step="Send the file's bytes as base64.") from None

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
            lowest, highest = _LIMITS[self.datatype]
            if not lowest <= value <= highest:
                raise InvalidInput(f"{self.name} is {value!r}; it must fit {self.datatype}.")
            return int(value)
        if not math.isfinite(value):
            raise InvalidInput(f"{self.name} is {value!r}; it must be finite.")
        return float(value)

    def _range(self) -> str:
        low = "" if self.minimum is None else f"at least {self.minimum:g}"
        high = "" if self.maximum is None else f"at most {self.maximum:g}"
        return " and ".join(part for part in ("finite" if not (low or high) else "", low, high) if part)
