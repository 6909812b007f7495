"""Universal Binary JSON (UBJSON draft 12), as XGBoost writes it: bytes to dicts, lists, arrays and scalars.

XGBoost's own reader ends the process on damaged bytes; this one raises.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bottega.errors import InvalidData

_NUMBERS: Mapping[bytes, str] = MappingProxyType(
    {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
)
_CONSTANTS: Mapping[bytes, Any] = MappingProxyType({b"T": True, b"F": False, b"Z": None})
_DEEPEST = 32


def decode(content: bytes) -> Any:
    """The value that `content` holds. Raises InvalidData for anything that is not exactly one value."""
    reader = _Reader(content)
    try:
        value = reader.value(reader.take(1), _DEEPEST)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise InvalidData(f"The bytes are no UBJSON: {error}.") from None
    if reader.at != len(content):
        raise InvalidData(f"The bytes are no UBJSON: {len(content) - reader.at} bytes follow the value.")
    return value


class _Reader:
    """A position in the bytes."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = memoryview(content), 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.content) - self.at:
            raise ValueError(f"{size} bytes are wanted at {self.at}, the end is at {len(self.content)}")
        self.at += size
        return bytes(self.content[self.at - size : self.at])

    def value(self, marker: bytes, levels: int) -> Any:
        if levels == 0:
            raise ValueError(f"more than {_DEEPEST} levels")
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in _NUMBERS:
            return np.frombuffer(self.take(np.dtype(_NUMBERS[marker]).itemsize), _NUMBERS[marker])[0].item()
        if marker == b"S":
            return self.text()
        if marker == b"[":
            return self.array(levels)
        if marker == b"{":
            return self.table(levels)
        raise ValueError(f"{marker!r} at {self.at - 1} is no type")

    def text(self) -> str:
        return self.take(self.size()).decode("utf-8")

    def size(self) -> int:
        number = self.value(self.take(1), 1)
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"the length at {self.at} is no whole number")
        return number

    def peek(self) -> bytes:
        return bytes(self.content[self.at : self.at + 1])

    def array(self, levels: int) -> Any:
        kind = self.take(2)[1:] if self.peek() == b"$" else b""
        if self.peek() == b"#":
            self.take(1)
            count = self.size()
            if kind in _NUMBERS:
                dtype = np.dtype(_NUMBERS[kind])
                return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
            return [self.value(kind or self.take(1), levels - 1) for _ in range(self.plausible(count))]
        values = []
        while (marker := self.take(1)) != b"]":
            values.append(self.value(marker, levels - 1))
        return values

    def plausible(self, count: int) -> int:
        """A count of values that may fit in what is left, so that damage cannot ask for endless work."""
        if not 0 <= count <= len(self.content) - self.at:
            raise ValueError(f"{count} values are announced at {self.at}")
        return count

    def table(self, levels: int) -> dict[str, Any]:
        values = {}
        while self.peek() != b"}":
            name = self.text()
            values[name] = self.value(self.take(1), levels - 1)
        self.take(1)
        return values
