"""Checking a learner's file: in a process of its own, with a time limit, each way of failing said as what it is."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from bottega.errors import BottegaError
from bottega.lab.catalogue import Lab
from bottega.lab.desk import Desk
from bottega.workspace import Workspace

START_LIMIT_S = 60.0
"""How long the process may take beside the learner's own time: starting Python, importing pandas on a slow disk."""

CheckStatus = Literal["passed", "failed", "todo", "error", "timeout", "not_run"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found. `line` and `source` are the learner's, where an exception or a time-out points at one."""

    function: str
    name: str
    status: CheckStatus
    message: str = ""
    hint_key: str = ""
    hint: str = ""
    line: int = 0
    source: str = ""


@dataclass(frozen=True)
class Problem:
    """Why the file could not be checked to the end; `line` (0: not known) and `source` are the learner's."""

    kind: Literal["syntax_error", "exception", "timeout", "crash"]
    message: str
    line: int = 0
    source: str = ""


@dataclass(frozen=True)
class CheckReport:
    """One run of a lab's checks on the learner's file."""

    lab: str
    file: str
    passed: bool
    problem: Problem | None
    checks: tuple[CheckResult, ...]
    output: str
    """The end of what the learner's code printed."""


def check(workspace: Workspace, lab: Lab, limit_s: float | None = None) -> CheckReport:
    """Run the lab's checks on the learner's exercise.py and remember the result.

    Raises NotFound where the lab was not started.
    """
    desk = Desk(workspace, lab)
    exercise = desk.exercise()
    report = examine(lab, exercise, lab.card.check_limit_s if limit_s is None else limit_s)
    desk.remember(
        attempts=desk.progress().attempts + 1,
        passed=report.passed,
        failing=tuple(dict.fromkeys(result.function for result in report.checks if result.status != "passed")),
        passing_checks=sum(result.status == "passed" for result in report.checks),
        checks=len(report.checks),
        wrong=tuple(dict.fromkeys(result.hint_key for result in report.checks if result.hint_key)),
    )
    return report


def examine(lab: Lab, exercise: Path, limit_s: float) -> CheckReport:
    """Run the lab's checks on any file; nothing is remembered."""
    with tempfile.TemporaryDirectory(prefix="bottega-lab-") as folder:
        events, trace = Path(folder) / "events", Path(folder) / "trace"
        command = [sys.executable, "-m", "bottega.lab.runner", str(exercise), str(lab.folder / "checks.py")]
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [*command, str(events), str(trace), str(limit_s)],
            cwd=exercise.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stuck = False
        try:
            _, errors = process.communicate(timeout=limit_s + START_LIMIT_S)
        except subprocess.TimeoutExpired:
            stuck, errors = True, b""
        finally:
            _end(process)
        said = [msgspec.json.decode(line) for line in events.read_bytes().splitlines()] if events.exists() else []
        stacks = trace.read_text(errors="replace") if trace.exists() else ""
    if not said or said[0]["event"] != "checks":
        raise BottegaError(
            f"The checks of lab {lab.name} could not be loaded: {_last_line(errors)}.",
            next_step="This is not about your answer: please report it.",
        )
    return _report(lab, exercise, said, _problem(exercise, said, stacks, stuck, process.returncode, limit_s))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of the process and of those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left; macOS says it the second way
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(errors: bytes) -> str:
    return next(reversed(errors.decode(errors="replace").strip().splitlines()), "no reason was given")


def _problem(
    exercise: Path, said: list[dict[str, Any]], stacks: str, stuck: bool, code: int, limit_s: float
) -> Problem | None:
    for event in said:
        if event["event"] in ("syntax_error", "exception"):
            return Problem(event["event"], event["message"], event["line"], event["source"])
    if said[-1]["event"] == "done":
        return None
    place = re.search(rf'File "{re.escape(str(exercise))}", line (\d+)', stacks)
    line = int(place.group(1)) if place else 0
    source = exercise.read_text(errors="replace").splitlines()[line - 1].strip() if line else ""
    if stuck or "Timeout (" in stacks:
        return Problem("timeout", f"Your code was still running after {limit_s:g} s: is a loop endless?", line, source)
    ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Problem("crash", f"Your code ended Python itself ({ending}).", line, source)


def _report(lab: Lab, exercise: Path, said: list[dict[str, Any]], problem: Problem | None) -> CheckReport:
    found = {event["check"]: event for event in said if event["event"] == "result"}
    running = {event["check"] for event in said if event["event"] == "running"} - found.keys()
    results = tuple(
        _timed_out(declared, problem)
        if i in running and problem
        else _result(lab, declared, found.get(i, {"status": "not_run"}))
        for i, declared in enumerate(said[0]["checks"])
    )
    return CheckReport(
        lab=lab.name,
        file=str(exercise),
        passed=problem is None and bool(results) and all(result.status == "passed" for result in results),
        problem=problem,
        checks=results,
        output=said[-1].get("output", ""),
    )


def _result(lab: Lab, declared: dict[str, str], event: dict[str, Any]) -> CheckResult:
    key = event.get("hint_key", "")
    return CheckResult(
        function=declared["function"],
        name=declared["name"],
        status=event["status"],
        message=event.get("message", ""),
        hint_key=key,
        hint=lab.guide.wrong[key] if key else "",
        line=event.get("line", 0),
        source=event.get("source", ""),
    )


def _timed_out(declared: dict[str, str], problem: Problem) -> CheckResult:
    status: CheckStatus = "timeout" if problem.kind == "timeout" else "error"
    return CheckResult(
        declared["function"], declared["name"], status, problem.message, "", "", problem.line, problem.source
    )
