"""The event log: records in one total order per topic, appended once, read by any number of readers.

Open one with `bottega.eventlog.open_log(address)`: a file of this machine, or a Kafka cluster.
"""

from bottega.eventlog.address import open_log
from bottega.eventlog.log import Batch, EventLog

__all__ = ["Batch", "EventLog", "open_log"]
