"""The contract that every lab keeps: learners' files, hints, and a lesson that runs without a person or a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bottega.lab import Lab, labs, notebook
from bottega.lab.examination import examine
from bottega.lab.runner import load_checks
from bottega.workspace import Workspace

LABS = labs()
every_lab = pytest.mark.parametrize("lab", LABS, ids=[lab.name for lab in LABS])
WRONG = [(lab, path) for lab in LABS for path in sorted((lab.folder / "wrong").glob("*.py"))]

OFFLINE = """
import runpy, sys

LOCAL = (None, "", "localhost", "127.0.0.1", "::1")

def no_network(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in LOCAL:
        raise OSError(f"the network is off: connect to {arguments[1]}")
    if event == "socket.getaddrinfo" and arguments[0] not in LOCAL:
        raise OSError(f"the network is off: look up {arguments[0]}")

sys.addaudithook(no_network)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@every_lab
def test_starter_fails_everywhere(lab: Lab) -> None:
    report = examine(lab, lab.folder / "exercise.py", lab.card.check_limit_s)
    assert report.problem is None
    assert {result.status for result in report.checks} == {"todo"}


@every_lab
def test_solution_passes(lab: Lab) -> None:
    report = examine(lab, lab.folder / "solution.py", lab.card.check_limit_s)
    assert report.passed, [result for result in report.checks if result.status != "passed"]


@pytest.mark.parametrize(("lab", "wrong"), WRONG, ids=[f"{lab.number}-{path.stem}" for lab, path in WRONG])
def test_wrong_answer_gets_the_hint_that_is_meant(lab: Lab, wrong: Path, tmp_path: Path) -> None:
    exercise = tmp_path / "exercise.py"
    exercise.write_text(f"{(lab.folder / 'solution.py').read_text()}\n\n{wrong.read_text()}")
    report = examine(lab, exercise, lab.card.check_limit_s)
    keyed = [result for result in report.checks if result.hint_key]
    assert keyed, [result.message for result in report.checks]
    assert keyed[0].hint_key == wrong.stem
    assert keyed[0].hint == lab.guide.wrong[wrong.stem]
    assert all(result.message for result in report.checks if result.status != "passed")


@every_lab
def test_a_syntax_error_is_reported_as_that(lab: Lab, tmp_path: Path) -> None:
    exercise = tmp_path / "exercise.py"
    exercise.write_text((lab.folder / "solution.py").read_text() + "\ndef broken(:\n")
    report = examine(lab, exercise, lab.card.check_limit_s)
    assert report.problem is not None
    assert (report.problem.kind, report.problem.source) == ("syntax_error", "def broken(:")


@every_lab
def test_hints_are_complete(lab: Lab) -> None:
    checks = (lab.folder / "checks.py").read_text()
    named = set(re.findall(r'hint\s*=.*?"(\w+)"', checks))
    assert named == set(lab.guide.wrong), "checks.py and [wrong] in hints.toml name the same hints"
    assert {path.stem for path in (lab.folder / "wrong").glob("*.py")} == set(lab.guide.wrong)
    assert 1 <= len(lab.functions) <= 3
    for function in lab.functions:
        assert len(set(lab.guide.ladder[function])) == 3
        assert f"def {function}(" in (lab.folder / "exercise.py").read_text()
    assert {check.function for check in load_checks(lab.folder / "checks.py")} == set(lab.functions)


@every_lab
def test_card_is_within_bounds(lab: Lab) -> None:
    assert 20 <= lab.card.minutes <= 40
    assert lab.card.question.endswith("?")
    assert lab.card.check_limit_s <= 60
    assert lab.card.title.lower().replace(" ", "_") in lab.name


@every_lab
def test_lesson_opens_as_a_notebook(lab: Lab, tmp_path: Path, now) -> None:
    made = notebook(Workspace.open(tmp_path), lab, now)
    assert lab.card.question in Path(made.file).read_text()


@pytest.mark.slow
@every_lab
def test_lesson_runs_headless_in_its_time_without_a_network(lab: Lab, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    folder = workspace.labs / lab.name
    folder.mkdir(parents=True)
    (folder / "lesson.py").write_bytes((lab.folder / "lesson.py").read_bytes())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BOTTEGA_")}
    ran = subprocess.run(
        [sys.executable, "-c", OFFLINE, "lesson.py"],
        cwd=folder,
        env={**environment, "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=lab.card.lesson_limit_s,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout
