"""The process that runs a learner's file: `python -m bottega.lab.runner EXERCISE CHECKS EVENTS TRACE LIMIT_S`.

It writes one JSON object a line to EVENTS as it goes, so that a crash or an endless loop leaves what came before. Past
the limit, a watchdog outside the interpreter writes where each thread was to TRACE and ends the process.
"""

import contextlib
import faulthandler
import io
import json
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bottega.lab.rules import Check, Wrong

OUTPUT_CHARACTERS = 4000
"""How much of what the learner prints is kept: the end of it."""

Say = Callable[[dict[str, Any]], None]


class Tail(io.TextIOBase):
    """A text stream that keeps the end of what was written, however much it was."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Append `text` and forget what came too long before."""
        self.text = (self.text + text)[-OUTPUT_CHARACTERS:]
        return len(text)


def main(arguments: Sequence[str]) -> None:
    """Load the checks, then the exercise, then run check after check."""
    exercise, checks, events, trace = (Path(argument) for argument in arguments[:4])
    printed = Tail()
    with events.open("a", encoding="utf-8") as lines, trace.open("a") as stacks:

        def say(event: dict[str, Any]) -> None:
            lines.write(json.dumps(event) + "\n")
            lines.flush()

        wanted = load_checks(checks)  # before the clock starts: importing pandas is not the learner's time
        say({"event": "checks", "checks": [{"function": c.function, "name": c.name} for c in wanted]})
        faulthandler.enable(stacks)
        faulthandler.dump_traceback_later(float(arguments[4]), exit=True, file=stacks)
        with contextlib.redirect_stdout(printed):
            module = load_exercise(exercise, say)
            if module is not None:
                for i, check in enumerate(wanted):
                    say({"event": "running", "check": i})
                    say({"event": "result", "check": i, **outcome(check, module, exercise)})
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
        say({"event": "done", "output": printed.text})


def load_checks(path: Path) -> list[Check]:
    """The checks that a checks.py defines, in order."""
    module = types.ModuleType("checks")
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return [value for value in vars(module).values() if isinstance(value, Check)]


def load_exercise(path: Path, say: Say) -> types.ModuleType | None:
    """The learner's module, or None where it cannot be read or raised, which is then said."""
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 0
        text = (getattr(error, "text", None) or linecache.getline(str(path), line)).strip()
        say({"event": "syntax_error", "message": getattr(error, "msg", str(error)), "line": line, "source": text})
        return None
    module = types.ModuleType("exercise")
    module.__file__ = str(path)
    sys.modules["exercise"] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:  # noqa: BLE001 (the learner's code may raise anything, exit() included)
        say({"event": "exception", **raised(error, path)})
        return None
    return module


def outcome(check: Check, module: types.ModuleType, path: Path) -> dict[str, Any]:
    """What one check found: passed, failed (with a message), todo, or the exception that was raised."""
    function = getattr(module, check.function, None)
    if not callable(function):
        return {"status": "failed", "message": f"{path.name} defines no function `{check.function}`."}
    try:
        check.run(function)
    except Wrong as wrong:
        return {"status": "failed", "message": wrong.message, "hint_key": wrong.hint}
    except BaseException as error:  # noqa: BLE001 (the learner's code may raise anything, exit() included)
        found = raised(error, path)
        if isinstance(error, NotImplementedError) and found["line"]:
            return {**found, "status": "todo", "message": f"`{check.function}` is not written yet."}
        if not found["line"]:
            found["message"] = f"what `{check.function}` returned could not be used: {found['message']}"
        return {**found, "status": "error"}
    return {"status": "passed"}


def raised(error: BaseException, path: Path) -> dict[str, Any]:
    """An exception as a message, and the innermost line of the learner's file that it passed through (0: none)."""
    message = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = (frames[-1].lineno or 0) if frames else 0
    return {"message": message, "line": line, "source": linecache.getline(str(path), line).strip()}


if __name__ == "__main__":
    main(sys.argv[1:])
