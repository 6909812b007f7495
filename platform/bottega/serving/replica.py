"""One of several replicas: what it tells the process that keeps them, and the metrics of all of them.

A client, and Prometheus too, meets one replica or another. So the one that is asked for metrics asks the others, each
by a socket in a folder that only this user may enter, and tells all of them with the label `replica`.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

READY = b"ready\n"
PATIENCE_S = 1.0
"""How long a replica waits for what another one counts."""


@dataclass(frozen=True)
class Replica:
    """The replica `number`; `folder` holds a socket of each."""

    number: int
    folder: Path

    @contextlib.asynccontextmanager
    async def telling(self, metrics: Callable[[], bytes]) -> AsyncIterator[None]:
        """Tell the other replicas this one's metrics whenever they ask."""

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(metrics())
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        path = self.folder / str(self.number)
        path.unlink(missing_ok=True)  # of a replica of this number that was killed
        async with await asyncio.start_unix_server(tell, path):
            yield

    async def all_metrics(self, own: bytes) -> bytes:
        """This replica's metrics and those of the others that answer, as one text."""
        others = [path for path in self.folder.iterdir() if path.name != str(self.number)]
        texts = await asyncio.gather(*(_ask(path) for path in others))
        found = {int(path.name): text for path, text in zip(others, texts, strict=True) if text}
        return merged({self.number: own, **found})

    def follow_keeper(self, end: Callable[[], None]) -> None:
        """Say that this replica answers, and end with the process that keeps it."""
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(sys.stdin.fileno())
            end()

        loop.add_reader(sys.stdin.fileno(), gone)  # nobody writes there: what comes is the end


async def _ask(path: Path) -> bytes:
    """The metrics of a replica; nothing of one that is gone or does not answer."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def merged(texts: Mapping[int, bytes]) -> bytes:
    """Metrics by replica as one text, each sample with the label `replica`."""
    families: dict[str, Metric] = {}
    for number, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text.decode()):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.add_sample(sample.name, {**sample.labels, "replica": str(number)}, sample.value)
    return generate_latest(_Families(families))


@dataclass(frozen=True)
class _Families:
    families: Mapping[str, Metric]

    def collect(self) -> Iterator[Metric]:
        """What Prometheus's client writes."""
        yield from self.families.values()
