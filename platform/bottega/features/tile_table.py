"""A view's tiles in the offline store: a segment a day, with the fingerprint of what it was made of."""

import hashlib
from collections.abc import Iterator

import msgspec
import numpy as np
import pandas as pd

from bottega.features.definition import Definition
from bottega.features.pieces import Pieces
from bottega.features.store import OfflineStore
from bottega.features.tiles import ON_TIME, Cells, Tiles
from bottega.features.view import FeatureView
from bottega.times import DAY_US, from_epoch_us


class TileTable:
    """The stored tiles of a view, by the day (since 1970, UTC) in which they begin.

    Its name holds a digest of the declaration: another declaration, but for windows, is another table.
    """

    def __init__(self, view: FeatureView, store: OfflineStore) -> None:
        self._store, self._definition = store, view.definition
        self._name = f"{view.name}_tiles_{_digest(view)}"
        self._scalar = [i for i, state in enumerate(self._definition.states) if state.kind != "distinct"]
        self._distinct = [i for i in range(len(self._definition.states)) if i not in self._scalar]

    def fingerprints(self) -> dict[int, str]:
        """The days that are there whole, and what they were made of."""
        if not self._store.segments(f"{self._name}_days"):
            return {}
        written = {segment.sha256 for name in self._tables() for segment in self._store.segments(name)}
        days = self._store.read(f"{self._name}_days")
        return {
            int(day): fingerprint
            for day, fingerprint, sums in zip(days["day"], days["fingerprint"], days["sha256"], strict=True)
            if written.issuperset(sums.split())
        }

    def rows(self, first_day: int, last_day: int) -> int:
        """How many pieces the days have, both included."""
        names = {_segment(day) for day in range(first_day, last_day + 1)}
        return sum(segment.rows for segment in self._store.segments(self._name) if segment.name in names)

    def write(self, day: int, tiles: Tiles, fingerprint: str) -> None:
        """Put a day's tiles in place of those that are there; the day counts once all of it is written."""
        pieces, values = self._frames(tiles)
        written = [self._store.write(self._name, pieces, _segment(day))]
        if self._distinct:
            written.append(self._store.write(f"{self._name}_values", values, _segment(day)))
        sums = " ".join(segment.sha256 for segment in written)
        record = pd.DataFrame({"day": [day], "fingerprint": [fingerprint], "sha256": [sums]})
        self._store.write(f"{self._name}_days", record, _segment(day))

    def read(self, first_day: int, last_day: int) -> Iterator[Pieces]:
        """The pieces of days, both included, one day after the other; a day that is not there has none."""
        for day in sorted(set(range(first_day, last_day + 1)) & set(self.fingerprints())):
            rows = self._store.read(self._name, segment=_segment(day))
            values = {}
            if self._distinct:
                members = self._store.read(f"{self._name}_values", segment=_segment(day))
                for i in self._distinct:
                    mine = members[members["state"] == i]
                    values[i] = mine["piece"].to_numpy(), mine["value"].to_numpy()
            keys = [rows[f"key_{i}"] for i in range(len(self._definition.keys))]
            yield Pieces(
                tuple(key.to_numpy(object if self._definition.key_dtype == "string" else np.int64) for key in keys),
                rows["tile"].to_numpy(),
                rows["available_us"].to_numpy(),
                {i: rows[f"state_{i}"].to_numpy() for i in self._scalar},
                values,
            )

    def _tables(self) -> tuple[str, ...]:
        return (self._name, f"{self._name}_values") if self._distinct else (self._name,)

    def _frames(self, tiles: Tiles) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Pieces, and the values of each that distinct counts need."""
        cells = [_without(tiles.whole, tiles.parts), tiles.parts]
        entity = np.concatenate([part.entity for part in cells])
        text = self._definition.key_dtype == "string"
        pieces = {
            f"key_{i}": pd.Series(key[entity], dtype="str" if text else "int64") for i, key in enumerate(tiles.keys)
        }
        pieces["tile"] = np.concatenate([part.tile for part in cells])
        pieces["available_us"] = np.concatenate([part.available_us for part in cells])
        for i in self._scalar:
            pieces[f"state_{i}"] = np.concatenate([part.state[i] for part in cells])
        members = [
            {"piece": first + np.repeat(np.arange(len(part)), np.diff(start)), "state": i, "value": values}
            for first, part in zip((0, len(cells[0])), cells, strict=True)
            for i, (start, values) in part.sets.items()
        ]
        frames = [pd.DataFrame(one).astype("int64") for one in members]
        return pd.DataFrame(pieces), pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _without(whole: Cells, parts: Cells) -> Cells:
    """The tiles that are not split into parts."""
    pairs = pd.MultiIndex.from_arrays([whole.entity, whole.tile])
    split = pairs.isin(pd.MultiIndex.from_arrays([parts.entity, parts.tile]))
    kept = whole.take(np.flatnonzero(~split))
    assert (kept.available_us == ON_TIME).all()
    return kept


def _segment(day: int) -> str:
    return f"d{from_epoch_us(day * DAY_US):%Y_%m_%d}"


def _digest(view: FeatureView) -> str:
    definition: Definition = view.definition
    kept = (len(definition.keys), definition.key_dtype, definition.tile_s, definition.lateness_s, definition.states)
    content = msgspec.json.encode((kept, definition.inputs, view.sources))
    return hashlib.sha256(content).hexdigest()[:12]
