"""The canary beside its champion: answers some requests, and the champion answers each of them too, for comparison.

Both run in a thread of the canary's own, so that a slow canary keeps nobody else waiting. What fails, hangs or gives no
number is never seen by a client: then the champion answers.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from bottega.errors import BottegaError
from bottega.features.steps import Columns
from bottega.serving.comparison import is_finite, numeric
from bottega.serving.endpoint import Endpoint
from bottega.serving.guardrails import LIMITS, REASONS, Guard, Limits, Pair

PATIENCE_S = 1.0
"""How long a client waits for a canary before the champion answers."""
HUNG = 3
"""A run that takes so many times the patience hangs."""
MAX_WAITING = 64
"""Requests; more of them are the champion's."""

Alarm = Callable[[int, str, dict[str, Any]], None]
"""Hears a canary's version, why it has to go, and the evidence."""


class NotANumber(BottegaError):
    """The answer holds NaN or an infinite value."""


class TooLate(BottegaError):
    """The client has been given the champion's answer by now."""


@dataclass(slots=True, eq=False)
class _Asked:
    """One request on its way: when its run began, and whether it was counted because nobody waits any more."""

    columns: Columns
    future: "asyncio.Future[Columns]"
    began_ns: int = 0
    counted: bool = False


@dataclass
class Counts:
    """What became of the requests that were the canary's by their keys."""

    answered: int = 0
    failed: int = 0
    late: int = 0
    overflowed: int = 0
    last_error: str = ""


class Trial:
    """One canary on trial; `alarm` hears once that it has broken a guardrail. Lives on the event loop.

    With `guard` it goes on where an earlier trial of the same versions, in another process, had come to.
    """

    def __init__(
        self,
        champion: Endpoint,
        canary: Endpoint,
        alarm: Alarm,
        limits: Limits = LIMITS,
        patience_s: float = PATIENCE_S,
        guard: Guard | None = None,
    ) -> None:
        self.champion, self.canary = champion, canary
        self.counts = Counts()
        self.broken = ""
        self.ended = False
        self._names = numeric(champion.plan.answer)
        self.guard = Guard.of(self._names, limits) if guard is None else guard
        self._alarm, self._patience_s = alarm, patience_s
        self._threads = canary.threads or 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="canary")
        self._waiting = 0
        self._stalled: list[_Asked] = []  # they run, and nobody waits for them any more

    async def ask(self, columns: Columns) -> Columns | None:
        """The canary's answer to checked columns; None where the champion has to answer."""
        if self._waiting >= MAX_WAITING:
            self.counts.overflowed += 1
            if self._hangs():
                self._observe(Pair(failed=True))
            return None
        loop = asyncio.get_running_loop()
        asked = _Asked(columns, loop.create_future())
        self._waiting += 1
        self._pool.submit(self._answer, asked, loop)
        late = loop.call_later(self._patience_s, self._give_up, asked)
        try:
            answers = await asked.future
        except Exception as error:  # noqa: BLE001  whatever is wrong with the canary, the champion answers
            self.counts.failed += not isinstance(error, TooLate)
            self.counts.last_error = f"{type(error).__name__}: {error}"[:300]
            return None
        finally:
            late.cancel()
        self.counts.answered += 1
        return answers

    def close(self) -> None:
        """Take no more requests; those that it has begun are still answered."""
        self.ended = True
        self._pool.shutdown(wait=False)

    def _give_up(self, asked: _Asked) -> None:
        """Nobody waits longer: a failure where it has run for long, bad luck where it only stood in the queue."""
        if asked.future.done():
            return
        asked.future.set_exception(TooLate(f"There was no answer in {self._patience_s:g} s."))
        self.counts.late += 1
        if asked.began_ns and perf_counter_ns() - asked.began_ns > self._patience_s * 0.5e9:
            asked.counted = True
            self._stalled.append(asked)
            self._observe(Pair(failed=True))

    def _hangs(self) -> bool:
        """Whether every thread has been in one run for long: then what finds no room fails, too."""
        if len(self._stalled) < self._threads:
            return False
        return perf_counter_ns() - self._stalled[-1].began_ns > HUNG * self._patience_s * 1e9

    def _answer(self, asked: _Asked, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: the canary, whose answer the client gets at once, then the champion."""
        asked.began_ns = perf_counter_ns()
        found, error, run_ns = _timed(self.canary, self._names, asked.columns)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
            loop.call_soon_threadsafe(_deliver, asked.future, found, error)
            champion, champion_error, champion_run_ns = _timed(self.champion, self._names, asked.columns)
            pair = Pair(
                error is not None,
                champion_error is not None,
                run_ns,
                champion_run_ns,
                _means(self._names, found),
                _means(self._names, champion),
            )
            loop.call_soon_threadsafe(self._settle, asked, pair)

    def _settle(self, asked: _Asked, pair: Pair) -> None:
        self._waiting -= 1
        if asked.counted:
            self._stalled.remove(asked)
        else:
            self._observe(pair)

    def _observe(self, pair: Pair) -> None:
        if self.ended:
            return
        broken = self.guard.observe(pair)
        if broken:
            self.ended, self.broken = True, broken
            evidence = {"guardrail": broken, **self.guard.evidence(), "last_error": self.counts.last_error}
            reason = f"after {self.guard.pairs} requests: {REASONS[broken]}"
            self._alarm(self.canary.version, reason, evidence)


def _deliver(future: "asyncio.Future[Columns]", found: Columns, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(found)
    else:
        future.set_exception(error)


def _timed(endpoint: Endpoint, names: tuple[str, ...], columns: Columns) -> tuple[Columns, Exception | None, int]:
    """Answer, error and nanoseconds of the run, 0 where it failed."""
    began_ns = perf_counter_ns()
    try:
        endpoint.check(columns)
        found = endpoint.answer(columns)
        if not is_finite(names, found):
            raise NotANumber(f"Version {endpoint.version} of {endpoint.usecase} gave an answer that is no number.")
    except Exception as error:  # noqa: BLE001  the failure is what is counted
        return {}, error, 0
    return found, None, perf_counter_ns() - began_ns


def _means(names: tuple[str, ...], answers: Columns) -> tuple[float, ...]:
    return tuple(float(np.mean(answers[name])) for name in names) if answers else ()
