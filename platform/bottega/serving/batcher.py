"""Batching by loop turn: everything that was parsed in the same turn of the event loop is one batch.

There is no window to wait for: an idle server answers one row at once, a busy one finds more rows in each turn.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from bottega.errors import InvalidInput, Unavailable
from bottega.features.steps import Columns

WAITING_THREADS = 32
"""Of a model that waits for a service."""
MAX_WAITING = 100_000
"""Rows."""


@dataclass(slots=True)
class _Waiting:
    columns: Columns
    rows: int
    future: asyncio.Future[Columns]
    since_ns: int


class QueueFull(Unavailable):
    """More rows wait for the model than it is allowed to keep waiting."""


class Batcher:
    """Collects requests of one model version and runs them together.

    `run` takes the joined columns of at most `max_rows` rows, or of one larger request, and returns columns of the
    same number of rows; with `max_rows` 0 requests are never joined. It runs on the event loop, so it must be fast, or
    in so many `threads` of its own: one for a slow model, several for one that waits for a service. `waited` hears how
    long each request waited for its batch, in nanoseconds. Where more than `max_waiting` rows wait, QueueFull.

    A batch that is refused (InvalidInput) is run again request by request, so that nobody pays for another's bad row.
    """

    def __init__(
        self,
        run: Callable[[Columns], Columns],
        waited: Callable[[int], None],
        max_rows: int = 256,
        threads: int = 0,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._run = run
        self._waited = waited
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._waiting_rows = 0
        self._queue: list[_Waiting] = []
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batch") if threads else None
        self._most_flying, self._flying = threads, 0
        self.runs = self.run_ns = self.queue_ns = 0

    def submit(self, columns: Columns, rows: int) -> asyncio.Future[Columns]:
        """Queue `rows` rows for the end of this loop turn; the future gives their part of the answer."""
        if self._waiting_rows and self._waiting_rows + rows > self._max_waiting:
            raise QueueFull(f"{self._waiting_rows} rows wait for the model.", next_step="Try again in a moment.")
        self._waiting_rows += rows
        loop = asyncio.get_running_loop()
        if not self._queue:
            loop.call_soon(self._flush)
        future: asyncio.Future[Columns] = loop.create_future()
        self._queue.append(_Waiting(columns, rows, future, perf_counter_ns()))
        return future

    def _flush(self) -> None:
        queue, self._queue = self._queue, []
        batch: list[_Waiting] = []
        rows = 0
        for place, waiting in enumerate(queue):
            if waiting.future.done():  # its client has gone
                self._waiting_rows -= waiting.rows
                continue
            if batch and rows + waiting.rows > self._max_rows:
                self._answer(batch)
                batch, rows = [], 0
            if self._threads is not None and self._flying >= self._most_flying:
                self._queue = queue[place:]  # for the next thread that is free, which will take more of them at once
                return
            batch.append(waiting)
            rows += waiting.rows
        if batch:
            self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        now = perf_counter_ns()
        for waiting in batch:
            self.queue_ns += now - waiting.since_ns
            self._waited(now - waiting.since_ns)
        if self._threads is not None:
            self._flying += 1
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._outcomes, batch)
            running.add_done_callback(lambda done: self._settle(batch, done, now))
            return
        _share(batch, self._outcomes(batch))
        self._ran(batch, now)

    def _outcomes(self, batch: list[_Waiting]) -> "list[Columns | Exception]":
        """What each request of a batch gets."""
        try:
            return _cut(batch, self._run(_join(batch)))
        except InvalidInput as error:
            if len(batch) == 1:
                return [error]
            return [outcome for waiting in batch for outcome in self._outcomes([waiting])]
        except Exception as error:  # noqa: BLE001  each caller gets the failure, the loop goes on
            return [error] * len(batch)

    def _settle(self, batch: list[_Waiting], done: "asyncio.Future[list[Columns | Exception]]", began_ns: int) -> None:
        self._flying -= 1
        self._ran(batch, began_ns)
        if self._queue:
            self._flush()
        if not done.cancelled():
            _share(batch, done.result())

    def _ran(self, batch: list[_Waiting], began_ns: int) -> None:
        self._waiting_rows -= sum(waiting.rows for waiting in batch)
        self.runs += 1
        self.run_ns += perf_counter_ns() - began_ns


def _share(batch: list[_Waiting], outcomes: list[Columns | Exception]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():  # its client has gone
            continue
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)


def _cut(batch: list[_Waiting], answers: Columns) -> list[Columns | Exception]:
    """The answers' parts for each request."""
    if len(batch) == 1:
        return [answers]
    ends = itertools.accumulate(waiting.rows for waiting in batch)
    spans = [(end - waiting.rows, end) for end, waiting in zip(ends, batch, strict=True)]
    return [{name: column[start:end] for name, column in answers.items()} for start, end in spans]


def _join(batch: list[_Waiting]) -> Columns:
    if len(batch) == 1:
        return batch[0].columns
    return {name: np.concatenate([waiting.columns[name] for waiting in batch]) for name in batch[0].columns}
