"""Requests: what labels ask of a view, as whole numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InvalidData
from bottega.features.binding import bind_keys, bind_times, check_columns
from bottega.features.numbering import Numbering
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

MOST_TILES = 2**31 - 1
_LABELS = "The label table"


@dataclass(frozen=True, eq=False)
class Requests:
    """The rows of labels that ask for an entity at a moment; (n,) each.

    `row` is the label's place, counted on over the sets of key columns; `entity` its number; `tile` the tile of
    `at_us`.
    """

    entities: Numbering
    row: np.ndarray
    entity: np.ndarray
    tile: np.ndarray
    at_us: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: np.ndarray) -> "Requests":
        """The requests at `rows`, a mask or positions."""
        return Requests(self.entities, self.row[rows], self.entity[rows], self.tile[rows], self.at_us[rows])

    def seen_tiles(self, longest: int) -> tuple[int, int]:
        """The first tile that windows of at most `longest` tiles reach back to, and the one after the last.

        Raises InvalidData where that is more than 32 bits count.
        """
        if not len(self):
            return 0, 0
        first, end = int(self.tile.min()) - longest, int(self.tile.max())
        if end - first > MOST_TILES:
            raise InvalidData(
                f"The labels span {end - first} tiles, there may be at most {MOST_TILES}.",
                next_step="Look for a label with a wrong time, or join the labels year by year.",
            )
        return first, end


def bind_requests(
    view: FeatureView, labels: "pd.DataFrame", key_sets: "Sequence[tuple[str, ...]]", at: str
) -> Requests:
    """The labels' requests, once for each set of key columns; a null key or time asks for nothing."""
    sets, known = [], []
    for names in key_sets:
        check_columns(_LABELS, labels, [*names, at])
        keys, present = bind_keys(_LABELS, labels, names, view.entity.dtype)
        sets.append(keys)
        known.append(present)
    at_us, present = bind_times(_LABELS, labels, at)
    row = np.flatnonzero(np.concatenate([one & present for one in known]))
    keys = tuple(np.concatenate(columns)[row] for columns in zip(*sets, strict=True))
    entities = Numbering(keys)
    moments = np.tile(at_us, len(sets))[row]
    tile = moments // (parse_duration_s(view.tile) * 1_000_000)
    return Requests(entities, row, entities.find(keys, len(row)), tile, moments)
