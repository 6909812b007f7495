"""Rows of an event log or message queue: read from where this reader left off, passed once they are safely written."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pandas as pd

from bottega.datasets.ingest.source import Batch
from bottega.errors import InvalidInput
from bottega.eventlog import open_log

_TYPES: dict[str, type] = {"int": int, "float": float, "text": str, "bool": bool, "time": datetime}


class QueueSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="queue"):
    """A topic of an event log: a file, or `kafka://host:port`. `fields` gives each field's type.

    Delivery is at least once, and a segment's name comes from its offsets: what is read again replaces itself.
    """

    log: str
    topic: str
    fields: dict[str, str]
    reader: str = "ingest"
    at_once: int = 10_000

    def batches(self, position: Any) -> Iterator[Batch]:
        """Batches from the reader's committed offset to the topic's present end; unreadable records are null rows."""
        from bottega.eventlog.records import decode_rows

        unknown = sorted(set(self.fields.values()) - set(_TYPES))
        if unknown:
            raise InvalidInput(f"A field cannot be {unknown[0]!r}.", next_step=f"Types are {', '.join(_TYPES)}.")
        with open_log(self.log) as log:
            at = log.committed(self.reader, self.topic)
            end = log.end(self.topic)
            while at < end and (found := log.read(self.topic, at, min(self.at_once, end - at))):
                decoded = decode_rows(found.records, {name: _TYPES[kind] for name, kind in self.fields.items()})
                broken = {refused.position: found.records[refused.position] for refused in decoded.refused}
                rows = decoded.rows.astype(object).reindex(range(len(found.records)))
                rows["record"] = pd.Series(
                    {i: record.decode("utf-8", "replace") for i, record in broken.items()}, dtype=object
                )
                at = found.next
                yield Batch(f"offset_{found.first:012d}", rows, at)

    def done(self, position: Any) -> None:
        """Pass what is safely written."""
        with open_log(self.log) as log:
            log.commit(self.reader, self.topic, position)
