"""What every source yields: batches of rows, each with a name and the position to go on from."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

Form = Literal["text", "typed", "json", "event"]
"""How values come: as text (CSV, HTML), typed (Parquet), as JSON, or as JSON with times in microseconds (events)."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a source: part `part` of `group`, which together name the segment that they become.

    `rows` is a table, or one object for each row; None stands for a row that could not be read. `original` has the same
    rows as they came, for the quarantine. `position` is JSON.
    """

    origin: str
    """What messages call it: the file or address."""
    group: str
    part: int
    form: Form
    rows: pa.Table | Sequence[Mapping[str, Any] | None]
    original: pa.Table
    position: Any
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """By row (from 0): the reason."""


@dataclass(frozen=True)
class End:
    """A group is complete: it has this many parts, and what it had beyond them is gone."""

    group: str
    parts: int
    position: Any


class Source(Protocol):
    """Where rows come from."""

    @property
    def address(self) -> str:
        """What tells this source from another of its kind."""
        ...

    def batches(self, position: Any, pages: Path, now: datetime) -> Iterator[Batch | End]:
        """The batches after a position; all of them for None. The same rows come under the same name.

        Whoever asks for the next batch has safely written the one before. `pages` is a folder to keep web pages in.
        """
        ...


def mark(*parts: str) -> str:
    """Eight hex digits that tell one address from another, for names of segments.

    >>> mark("http://host/a") == mark("http://host/b")
    False
    """
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
