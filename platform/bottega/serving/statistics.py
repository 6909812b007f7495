"""Statistics of one model version, as the protocol's statistics extension tells them."""

import time
from dataclasses import dataclass


@dataclass
class Statistics:
    """What became of the requests of one model version, and the nanoseconds that they took."""

    success: int = 0
    success_ns: int = 0
    fail: int = 0
    fail_ns: int = 0
    parse_ns: int = 0
    encode_ns: int = 0
    rows: int = 0
    last_ms: int = 0

    def succeeded(self, count: int, rows: int, total_ns: int, parse_ns: int, encode_ns: int) -> None:
        """Count answered requests."""
        self.success += count
        self.success_ns += total_ns
        self.parse_ns += parse_ns
        self.encode_ns += encode_ns
        self.rows += rows
        self.last_ms = time.time_ns() // 1_000_000

    def failed(self, total_ns: int) -> None:
        """Count a request that got an error."""
        self.fail += 1
        self.fail_ns += total_ns
