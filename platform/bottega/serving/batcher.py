"""Batching by loop turn: everything that was parsed in the same turn of the event loop is one batch.

There is no window to wait for: an idle server answers one row at once, a busy one finds more rows in each turn.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from bottega.features.plan import Columns


@dataclass(slots=True)
class _Waiting:
    columns: Columns
    rows: int
    future: asyncio.Future[Columns]
    since_ns: int


class Batcher:
    """Collects requests of one model version and runs them together.

    `run` takes the joined columns of at most `max_rows` rows, or of one larger request, and returns columns of the
    same number of rows. It runs on the event loop, so it must be fast. `waited` hears how long each request waited
    for its batch, in nanoseconds.
    """

    def __init__(self, run: Callable[[Columns], Columns], waited: Callable[[int], None], max_rows: int = 256) -> None:
        self._run = run
        self._waited = waited
        self._max_rows = max_rows
        self._queue: list[_Waiting] = []

    def submit(self, columns: Columns, rows: int) -> asyncio.Future[Columns]:
        """Queue `rows` rows for the end of this loop turn; the future gives their part of the answer."""
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
        for waiting in queue:
            if waiting.future.done():  # its client has gone
                continue
            if batch and rows + waiting.rows > self._max_rows:
                self._answer(batch)
                batch, rows = [], 0
            batch.append(waiting)
            rows += waiting.rows
        if batch:
            self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        now = perf_counter_ns()
        for waiting in batch:
            self._waited(now - waiting.since_ns)
        try:
            answers = self._run(_join(batch))
        except Exception as error:  # noqa: BLE001  each caller gets the failure, the loop goes on
            for waiting in batch:
                waiting.future.set_exception(error)
            return
        start = 0
        for waiting in batch:
            end = start + waiting.rows
            part = answers if len(batch) == 1 else {name: column[start:end] for name, column in answers.items()}
            waiting.future.set_result(part)
            start = end


def _join(batch: list[_Waiting]) -> Columns:
    if len(batch) == 1:
        return batch[0].columns
    return {name: np.concatenate([waiting.columns[name] for waiting in batch]) for name in batch[0].columns}
