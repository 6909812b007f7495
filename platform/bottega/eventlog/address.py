"""Where an event log is: a path on this machine, or kafka://host:port."""

import re
from pathlib import Path

from bottega.errors import InvalidInput, Unsupported
from bottega.eventlog.embedded import EmbeddedLog
from bottega.eventlog.log import EventLog

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_SERVERS = re.compile(r"[^\s,:/@]+:\d{1,5}(,[^\s,:/@]+:\d{1,5})*")


def open_log(address: str | Path, *, timeout_s: float = 10.0) -> EventLog:
    """Open the log at a path (made where there is none) or at `kafka://host:port` (more brokers after commas).

    `timeout_s` is how long a call waits for another writer or for the broker before it raises Unavailable.
    """
    found = _SCHEME.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        return EmbeddedLog(Path(address), timeout_s=timeout_s)
    scheme, servers = found.groups()
    if scheme != "kafka":
        raise InvalidInput(
            f"There is no event log of the kind {scheme!r}.", next_step="Give a path, or kafka://host:port."
        )
    if not _SERVERS.fullmatch(servers):
        raise InvalidInput(
            f"{address!r} is not the address of a Kafka cluster.",
            next_step="Write kafka://host:port, with more brokers after commas.",
        )
    try:
        from bottega.eventlog.kafka import KafkaLog
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise Unsupported(
            f"{address} needs the package confluent-kafka, which is not installed.",
            next_step="Install it: pip install 'bottega[kafka]'.",
        ) from None
    return KafkaLog(servers, timeout_s=timeout_s)
