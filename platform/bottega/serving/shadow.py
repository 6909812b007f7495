"""The shadow: asked what the champion was asked, after the champion's answer, off the path; nobody gets its answers.

A thread takes what waits in a bounded queue. What does not fit is dropped and counted, so a shadow that is slow, or
hangs, costs its own comparisons and nothing else. It rests for as long as it worked: at most half a core is its.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bottega.features.steps import Columns
from bottega.serving.comparison import Differences, is_finite, numeric
from bottega.serving.deployments import RoleStatus
from bottega.serving.endpoint import Endpoint
from bottega.serving.log import Answered, PredictionLog

CAPACITY = 2048
"""Rows that may wait."""
_BATCH = 64
"""Requests that are taken at once."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One request that the champion has answered; `logged` where the shadow's answer belongs in the prediction log."""

    ids: Sequence[str]
    columns: Columns
    answers: Columns
    logged: bool


class Shadow:
    """One shadow version, whose answers go to the log. Made and asked on the event loop."""

    def __init__(self, endpoint: Endpoint, log: PredictionLog | None = None, capacity: int = CAPACITY) -> None:
        self.endpoint = endpoint
        self._log = log
        self._capacity = capacity
        self._names = numeric(endpoint.plan.answer)
        self._queue: deque[Mirrored] = deque()
        self._taken = self._done = 0  # rows; the first counted by the loop, the second by the thread
        self.dropped = 0
        self.failed = 0
        self.last_error = ""
        self.differences = Differences()
        self._wake = threading.Event()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name="shadow", daemon=True).start()

    def offer(self, mirrored: Mirrored) -> None:
        """Queue a request; never waits and never fails."""
        rows = len(mirrored.ids)
        if self._taken - self._done + rows > self._capacity:
            self.dropped += rows
            return
        self._taken += rows
        self._queue.append(mirrored)
        self._wake.set()

    def close(self) -> None:
        """Ask nothing more."""
        self._closed = True
        self._wake.set()

    def describe(self) -> RoleStatus:
        """Rows compared, waiting and dropped, requests failed, and how far the answers are from the champion's."""
        compared, waiting = self.differences.rows, self._taken - self._done
        counts = {"compared": compared, "waiting": waiting, "dropped": self.dropped, "failed": self.failed}
        found = self.differences.summary() if compared else {}
        return RoleStatus("shadow", self.endpoint.version, 0.0, counts, found, self.last_error)

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            while self._queue and not self._closed:
                began_s = time.perf_counter()
                self._answer([self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))])
                time.sleep(time.perf_counter() - began_s)

    def _answer(self, batch: list[Mirrored]) -> None:
        results = []
        for mirrored in batch:
            began_s = time.perf_counter()
            try:
                self.endpoint.check(mirrored.columns)
                found = self.endpoint.answer(mirrored.columns)
                if not is_finite(self._names, found):
                    raise ValueError("an answer is no number")
            except Exception as error:  # noqa: BLE001  the failure is what is counted
                self.failed += 1
                self.last_error = f"{type(error).__name__}: {error}"[:300]
            else:
                self.differences.add(self._names, mirrored.answers, found)
                results.append((mirrored, found, (time.perf_counter() - began_s) * 1e6))
            self._done += len(mirrored.ids)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._settle, results)

    def _settle(self, results: list[tuple[Mirrored, Columns, float]]) -> None:
        """On the event loop, to which the log's counts belong."""
        if self._log is None:
            return
        one, now_us = self.endpoint, time.time_ns() // 1000
        for asked, found, latency_us in results:
            if asked.logged:
                self._log.append(
                    Answered(
                        one.usecase,
                        one.version,
                        one.plan,
                        asked.ids,
                        asked.columns,
                        found,
                        now_us,
                        latency_us,
                        "shadow",
                    )
                )
