"""Cases in a process of their own, so that one that crashes or never ends is a result, and not the end of the run."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from conformance.cases import Case

LIMIT_S = 120.0
PASSED, UNSUPPORTED, WRONG = "passed", "unsupported", "wrong"


@dataclass(frozen=True)
class Outcome:
    """What became of a case, and why where it did not pass."""

    verdict: str
    reason: str = ""


def judge(case: Case) -> Outcome:
    """Compile, run and compare, in this process."""
    from bottega.errors import InvalidInput
    from conformance.engine import run

    try:
        answers = run(case.model, case.inputs)
    except InvalidInput as error:  # Unsupported and InvalidData are among its kinds
        return Outcome(UNSUPPORTED, str(error).splitlines()[0])
    except Exception as error:  # noqa: BLE001  any other error is a fault to report
        return Outcome(WRONG, f"{type(error).__name__}: {_where(error)}")
    return Outcome(WRONG, fault) if (fault := difference(answers, case)) else Outcome(PASSED)


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{(str(error).splitlines() or [''])[0]} ({Path(frame.filename).name}:{frame.lineno})"


def difference(answers: Sequence[np.ndarray], case: Case) -> str:
    """How the answers differ from what the case asks for; empty where they do not."""
    if len(answers) != len(case.outputs):
        return f"{len(answers)} outputs for {len(case.outputs)}"
    for place, (answer, wanted) in enumerate(zip(answers, case.outputs, strict=True)):
        expected = np.asarray(wanted)
        if answer.dtype != expected.dtype or answer.shape != expected.shape:
            return f"output {place} is {answer.dtype}{answer.shape}, not {expected.dtype}{expected.shape}"
        try:
            np.testing.assert_allclose(answer, expected, _rtol(case, expected.dtype), case.atol)
        except AssertionError as error:
            return f"output {place}: " + " ".join(str(error).split())[:300]
    return ""


def _rtol(case: Case, datatype: np.dtype) -> float:
    """The case's own, or four steps of the datatype where that is more: float16 has steps of 0.001."""
    return max(case.rtol, 4 * float(np.finfo(datatype).eps)) if datatype.kind == "f" else case.rtol


def run_cases(cases: Sequence[Case], limit_s: float = LIMIT_S) -> Iterator[Outcome]:
    """The outcome of each, in order; a crash and a case over the limit are wrong."""
    worker: _Worker | None = None
    for case in cases:
        worker = worker or _Worker()
        outcome = worker.ask(case, limit_s)
        if not worker.alive():
            worker = None
        yield outcome
    if worker:
        worker.stop()


class _Worker:
    """A process that answers one case after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, case: Case, limit_s: float) -> Outcome:
        try:
            self._pipe.send(case)
            if self._pipe.poll(limit_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return Outcome(WRONG, f"the process crashed with exit code {self._process.exitcode}")
        self.stop()
        return Outcome(WRONG, f"no answer within {limit_s:.0f} s")

    def alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, judge: Callable[[Case], Outcome] = judge) -> None:
    """Answer until the other end hangs up; what TVM prints about graphs that it does not know is dropped."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        pipe.send(judge(case))
