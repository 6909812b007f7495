"""The express lane of a model: requests of the common form, from their bytes to those of their answers.

Their numbers stay bytes until those of a whole loop turn become one array, and the checks, the run and the notes in the
metrics are the batch's. The lane knows no refusal: what is of another form, or fails, takes the long way through
`bottega.serving.inference`, which finds what is wrong and says it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np

from bottega.serving.batcher import Batcher
from bottega.serving.common_form import Answers, Asked, CommonForm, NotCommon
from bottega.serving.metrics import ModelMetrics
from bottega.serving.statistics import Statistics


class Asker(Protocol):
    """Who waits for an answer; one of the two is called, once."""

    def reply(self, body: bytes, header_length: int | None) -> None:
        """Take the answer's body, of which so many bytes are JSON where not all are."""

    def take_long_way(self) -> None:
        """Have the request answered by the general code."""


@dataclass(slots=True)
class _Waiting:
    asked: Asked
    asker: Asker
    received_ns: int
    parsed_ns: int


class Lane:
    """`check` raises where joined inputs are not what the model takes; `run` answers at most `max_rows` rows.

    Runs are counted with those of the model's `batcher`, which the long way goes through.
    """

    def __init__(
        self,
        form: CommonForm,
        check: Callable[[dict[str, np.ndarray]], object],
        run: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]],
        max_rows: int,
        metrics: ModelMetrics,
        statistics: Statistics,
        batcher: Batcher,
    ) -> None:
        self._form, self._check, self._run, self._max_rows = form, check, run, max_rows
        self._metrics, self._statistics, self._batcher = metrics, statistics, batcher
        self._waiting: list[_Waiting] = []

    def take(self, body: bytes, header_length: int | None, asker: Asker) -> bool:
        """Queue a request for the end of this loop turn; False where it is not of the common form."""
        received_ns = perf_counter_ns()
        try:
            asked = self._form.read(body, header_length)
        except NotCommon:
            return False
        if not 0 < asked.rows <= self._max_rows:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_Waiting(asked, asker, received_ns, perf_counter_ns()))
        return True

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        batch: list[_Waiting] = []
        rows = 0
        for one in waiting:
            if rows + one.asked.rows > self._max_rows:
                self._answer(batch, rows)
                batch, rows = [], 0
            batch.append(one)
            rows += one.asked.rows
        self._answer(batch, rows)

    def _answer(self, batch: list[_Waiting], rows: int) -> None:
        began_ns = perf_counter_ns()
        try:
            arrays = self._form.arrays([one.asked for one in batch], rows)
            self._check(arrays)
            answers = self._form.answers(self._run(arrays), rows)
        except Exception:  # noqa: BLE001  whatever it is, the long way finds it out, for each request alone
            for one in batch:
                one.asker.take_long_way()
            return
        ran_ns = perf_counter_ns()
        self._reply(batch, answers)
        self._note(batch, rows, began_ns, ran_ns)

    def _reply(self, batch: list[_Waiting], answers: Answers) -> None:
        start = 0
        for one in batch:
            one.asker.reply(*self._form.write(one.asked, answers, start))
            start += one.asked.rows

    def _note(self, batch: list[_Waiting], rows: int, began_ns: int, ran_ns: int) -> None:
        """Encoding is noted as an equal part of what it took for all."""
        done_ns, count = perf_counter_ns(), len(batch)
        parsed = [one.parsed_ns - one.received_ns for one in batch]
        queued = [began_ns - one.parsed_ns for one in batch]
        total = [done_ns - one.received_ns for one in batch]
        stages = self._metrics.stages
        stages["parse"].observe_all(parsed)
        stages["queue"].observe_all(queued)
        stages["run"].observe_ns(ran_ns - began_ns)
        stages["encode"].observe_all([(done_ns - ran_ns) // count] * count)
        stages["total"].observe_all(total)
        self._metrics.request_count += count
        self._metrics.row_count += rows
        self._batcher.runs += 1
        self._batcher.run_ns += ran_ns - began_ns
        self._batcher.queue_ns += sum(queued)
        self._statistics.succeeded(count, rows, sum(total), sum(parsed), done_ns - ran_ns)
