"""What every source yields: batches of rows, each with a name and a position to go on from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd


@dataclass(frozen=True)
class Batch:
    """Some rows: the name of the segment that they become, and where the source goes on after them (JSON)."""

    segment: str
    rows: pd.DataFrame
    position: Any


class Source(Protocol):
    """Where rows come from."""

    def batches(self, position: Any) -> Iterator[Batch]:
        """The batches after a position; from the beginning for None. The same rows come under the same name."""
        ...

    def done(self, position: Any) -> None:
        """Everything up to a position is safely written."""
        ...
