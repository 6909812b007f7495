"""Rows of an event log or message queue: read on from a named offset, which is moved once they are safely written."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from bottega.datasets.ingest.source import Batch, End, mark
from bottega.errors import InvalidData, NotFound
from bottega.eventlog import EventLog, open_log


class QueueSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="queue"):
    """A topic of an event log: a file, or `kafka://host:port`. `reader` names whose offset it is.

    Delivery is at least once, and a segment's name comes from its first offset: what is read again replaces itself.
    """

    log: str
    topic: str
    reader: str
    rows_at_once: Annotated[int, msgspec.Meta(ge=1)] = 10_000

    @property
    def address(self) -> str:
        """The log's address, with the topic and the reader."""
        where = self.log if "://" in self.log else str(Path(self.log).absolute())
        return "\n".join((where, self.topic, self.reader))

    def batches(self, position: Any, pages: Path, now: datetime) -> Iterator[Batch | End]:
        """Batches from the reader's offset to the end that the topic has now."""
        del position, pages, now
        if "://" not in self.log and not Path(self.log).exists():
            raise NotFound(f"There is no event log {self.log}.", next_step="Name its file, or kafka://host:port.")
        with open_log(self.log) as log:
            group = f"queue_{mark(self.address)}"
            at, end = self._span(log)
            while at < end and (found := log.read(self.topic, at, min(self.rows_at_once, end - at))):
                at = found.next
                yield self._batch(group, found.first, found.records, at)
                log.commit(self.reader, self.topic, at)  # whoever asks for more has written what came before

    def _span(self, log: EventLog) -> tuple[int, int]:
        if self.topic not in log.topics():
            raise NotFound(
                f"{self.log} has no topic {self.topic!r}.", next_step=f"It has: {', '.join(log.topics()) or 'none'}."
            )
        at, end = log.committed(self.reader, self.topic), log.end(self.topic)
        if at > end:
            raise InvalidData(
                f"Reader {self.reader!r} goes on at {at}, but topic {self.topic!r} ends at {end}: it was made anew.",
                next_step="Name another reader to read it from its beginning.",
            )
        return at, end

    def _batch(self, group: str, first: int, records: list[bytes], at: int) -> Batch:
        rows, wrong = list[dict[str, Any] | None](), {}
        for i, record in enumerate(records):
            try:
                rows.append(msgspec.json.decode(record, type=dict[str, Any]))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                rows.append(None)
                wrong[i] = "no_object"
        texts = [record.decode("utf-8", "backslashreplace") for record in records]
        original = pa.table({"record": pa.array(texts, pa.string())})
        return Batch(f"topic {self.topic}", group, first, "event", rows, original, at, wrong)
