import time
from pathlib import Path

import psutil
import pytest

from bottega.errors import BottegaError, NotFound
from bottega.lab import CheckReport, Lab, check, start
from bottega.lab.desk import Desk
from bottega.lab.examination import examine
from bottega.workspace import Workspace


def examined(lab: Lab, folder: Path, text: str | bytes, limit_s: float = 20.0) -> CheckReport:
    """What the checks say about a file with this content."""
    path = folder / "exercise.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return examine(lab, path, limit_s)


def test_the_solution_passes(lab: Lab) -> None:
    report = examine(lab, lab.folder / "solution.py", 20.0)
    assert report.passed
    assert report.problem is None
    assert [(c.function, c.name, c.status) for c in report.checks] == [
        ("area", "squares the radius", "passed"),
        ("area", "is nothing for a point", "passed"),
        ("girth", "goes round", "passed"),
    ]


def test_the_starter_is_still_to_do(lab: Lab) -> None:
    report = examine(lab, lab.folder / "exercise.py", 20.0)
    assert not report.passed
    assert {c.status for c in report.checks} == {"todo"}
    assert report.checks[0].message == "`area` is not written yet."
    assert (report.checks[2].line, report.checks[2].source) == (6, "raise NotImplementedError")


def test_a_wrong_answer_gets_its_message_and_hint(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "def area(r):\n    return 3.141592653589793 * r\n")
    first, second, third = report.checks
    assert (first.status, first.hint_key, first.hint) == ("failed", "not_squared", "Square the radius.")
    assert first.message == "area(2.0) is 6.28, that is pi times the radius."
    assert second.status == "passed"
    assert (third.status, third.message) == ("failed", "exercise.py defines no function `girth`.")


@pytest.mark.parametrize(
    ("text", "message", "line", "source"),
    [
        ("def area(r):\n    return (r * 2\n", "'(' was never closed", 2, "return (r * 2"),
        ("def area(r)\n    return r\n", "expected ':'", 1, "def area(r)"),
        ("def area(r):\nreturn r\n", "expected an indented block", 2, "return r"),
        ("x = 'ü'\n".encode("latin-1"), "utf-8", 0, ""),
        ("x = 1\0\n", "null bytes", 0, ""),
    ],
)
def test_a_syntax_error_is_that(
    lab: Lab, tmp_path: Path, text: str | bytes, message: str, line: int, source: str
) -> None:
    report = examined(lab, tmp_path, text)
    assert report.problem is not None
    assert report.problem.kind == "syntax_error"
    assert message in report.problem.message
    if line:
        assert (report.problem.line, report.problem.source) == (line, source)
    assert {c.status for c in report.checks} == {"not_run"}
    assert report.file == str(tmp_path / "exercise.py")


def test_an_exception_comes_with_the_learners_line(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "import json\n\ndef area(r):\n    return json.loads('{')\n\ngirth = None\n")
    assert report.problem is None
    assert report.checks[0].status == "error"
    assert report.checks[0].message.startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert (report.checks[0].line, report.checks[0].source) == (4, "return json.loads('{')")


def test_an_exception_while_loading_is_one_problem(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "import nothing_of_that_name\n")
    assert report.problem is not None
    assert (report.problem.kind, report.problem.line) == ("exception", 1)
    assert report.problem.message == "ModuleNotFoundError: No module named 'nothing_of_that_name'"


@pytest.mark.parametrize("call", ["exit()", "raise KeyboardInterrupt", "input()"])
def test_ways_to_leave_are_exceptions_too(lab: Lab, tmp_path: Path, call: str) -> None:
    report = examined(lab, tmp_path, f"def area(r):\n    {call}\n")
    assert [(c.status, c.line) for c in report.checks[:2]] == [("error", 2), ("error", 2)]


def test_an_answer_of_another_kind_is_said(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "def area(r):\n    pass\n")
    assert report.checks[0].message == "area(2.0) must be a number; it is None (is a `return` missing?)."
    assert (report.checks[1].status, report.checks[1].line) == ("error", 0)
    assert report.checks[1].message.startswith("what `area` returned could not be used: TypeError")


def test_an_endless_loop_is_a_time_out_at_its_line(lab: Lab, tmp_path: Path) -> None:
    text = (
        "import math\ndef area(r):\n    if r == 0:\n        while True:\n            pass\n    return math.pi * r * r\n"
    )
    report = examined(lab, tmp_path, text, limit_s=1.0)
    assert report.problem is not None
    assert report.problem.kind == "timeout"
    assert "after 1 s" in report.problem.message
    assert report.problem.line in (4, 5)
    assert [c.status for c in report.checks] == ["passed", "timeout", "not_run"]


def test_an_endless_loop_while_loading_is_a_time_out(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "while True: pass\n", limit_s=1.0)
    assert report.problem is not None
    assert (report.problem.kind, report.problem.line) == ("timeout", 1)


def test_an_endless_print_is_a_time_out_and_keeps_little(lab: Lab, tmp_path: Path) -> None:
    report = examined(lab, tmp_path, "def area(r):\n    while True: print('again')\n", limit_s=1.0)
    assert report.problem is not None
    assert report.problem.kind == "timeout"
    assert len(report.output) <= 4000


def test_a_catch_all_cannot_stop_the_time_out(lab: Lab, tmp_path: Path) -> None:
    text = "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass\n"
    report = examined(lab, tmp_path, text, limit_s=1.0)
    assert report.problem is not None
    assert report.problem.kind == "timeout"


@pytest.mark.parametrize(
    ("call", "says"),
    [("os._exit(0)", "exit code 0"), ("os.kill(os.getpid(), 9)", "SIGKILL"), ("ctypes.string_at(0)", "SIGSEGV")],
)
def test_the_end_of_python_is_a_crash(lab: Lab, tmp_path: Path, call: str, says: str) -> None:
    report = examined(lab, tmp_path, f"import ctypes, os\ndef area(r):\n    {call}\n")
    assert report.problem is not None
    assert report.problem.kind == "crash"
    assert says in report.problem.message
    assert [c.status for c in report.checks] == ["error", "not_run", "not_run"]


def test_what_is_printed_is_kept_apart(lab: Lab, tmp_path: Path) -> None:
    report = examined(
        lab, tmp_path, "def area(r):\n    print('radius', r)\n    return 12.566370614359172 * r * r / 4\n"
    )
    assert report.output == "radius 2.0\nradius 0.0\n"
    assert [c.status for c in report.checks] == ["passed", "passed", "failed"]


def test_no_process_is_left(lab: Lab, tmp_path: Path) -> None:
    text = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stderr=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
        "def area(r):\n    return 0.0\n"
    )
    report = examined(lab, tmp_path, text)
    child = int(report.output)
    for _ in range(200):  # a kill takes effect a moment after it was sent
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} is left")


def test_checks_that_cannot_be_loaded_are_not_the_learners_fault(lab: Lab) -> None:
    (lab.folder / "checks.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(BottegaError, match=r"could not be loaded.*nothing_of_that_name.*please report it"):
        examine(lab, lab.folder / "solution.py", 20.0)


def test_check_works_on_the_learners_copy_and_remembers(workspace: Workspace, lab: Lab) -> None:
    with pytest.raises(NotFound, match="bottega lab start 07"):
        check(workspace, lab)
    start(workspace, lab)
    exercise = workspace.labs / lab.name / "exercise.py"
    exercise.write_text("def area(r):\n    return 3.141592653589793 * r\n")
    assert not check(workspace, lab).passed
    progress = Desk(workspace, lab).progress()
    assert (progress.attempts, progress.failing, progress.wrong) == (1, ("area", "girth"), ("not_squared",))
    exercise.write_bytes((lab.folder / "solution.py").read_bytes())
    assert check(workspace, lab).passed
    progress = Desk(workspace, lab).progress()
    assert (progress.attempts, progress.passed, progress.failing, progress.wrong) == (2, True, (), ())
