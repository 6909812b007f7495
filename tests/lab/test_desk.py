import json
from datetime import datetime
from pathlib import Path

import nbformat
import pytest

from bottega.errors import Conflict, InvalidData, NotFound, StorageError
from bottega.lab import Lab, catch_up, check, find_workspace, notebook, overview, reset, solution, start
from bottega.lab.desk import Desk
from bottega.workspace import Workspace

MINE = "# my own work\n"


def mine(workspace: Workspace, lab: Lab) -> Path:
    """Start the lab and write something into the exercise."""
    start(workspace, lab)
    path = workspace.labs / lab.name / "exercise.py"
    path.write_text(MINE)
    return path


def test_start_copies_lesson_and_exercise(workspace: Workspace, lab: Lab) -> None:
    started = start(workspace, lab)
    assert started.copied == ("lesson.py", "exercise.py")
    assert started.kept == ()
    for name in started.copied:
        assert (Path(started.folder) / name).read_bytes() == (lab.folder / name).read_bytes()


def test_starting_again_keeps_what_the_learner_wrote(workspace: Workspace, lab: Lab) -> None:
    path = mine(workspace, lab)
    (path.parent / "lesson.py").unlink()
    started = start(workspace, lab)
    assert (started.copied, started.kept) == (("lesson.py",), ("exercise.py",))
    assert path.read_text() == MINE


@pytest.mark.parametrize(("replace", "source"), [(reset, "exercise.py"), (catch_up, "solution.py")])
def test_replacing_keeps_a_backup(workspace: Workspace, lab: Lab, now: datetime, replace, source: str) -> None:
    path = mine(workspace, lab)
    replaced = replace(workspace, lab, now)
    assert path.read_bytes() == (lab.folder / source).read_bytes()
    assert Path(replaced.backup).name == "exercise.20240116T083000Z.py"
    assert Path(replaced.backup).read_text() == MINE


def test_two_backups_of_the_same_second_are_two_files(workspace: Workspace, lab: Lab, now: datetime) -> None:
    path = mine(workspace, lab)
    first = reset(workspace, lab, now).backup
    path.write_text("# second try\n")
    second = reset(workspace, lab, now).backup
    assert Path(first).read_text() == MINE
    assert Path(second).read_text() == "# second try\n"


def test_what_is_the_same_needs_no_backup(workspace: Workspace, lab: Lab, now: datetime) -> None:
    start(workspace, lab)
    assert reset(workspace, lab, now).backup == ""


def test_reset_needs_a_started_lab_and_catch_up_does_not(workspace: Workspace, lab: Lab, now: datetime) -> None:
    with pytest.raises(NotFound, match="bottega lab start 07"):
        reset(workspace, lab, now)
    catch_up(workspace, lab, now)
    assert check(workspace, lab).passed


def test_overview_follows_the_learner(workspace: Workspace, lab: Lab, shelf: Path, now: datetime) -> None:
    def standing() -> tuple[str, int, int]:
        (status,) = overview(workspace, shelf)
        return status.status, status.passing_checks, status.checks

    assert standing() == ("not started", 0, 0)
    start(workspace, lab)
    assert standing() == ("started", 0, 0)
    exercise = workspace.labs / lab.name / "exercise.py"
    exercise.write_text("def area(radius):\n    return 0.0\n")
    check(workspace, lab)
    assert standing() == ("attempted", 1, 3)
    exercise.write_bytes((lab.folder / "solution.py").read_bytes())
    check(workspace, lab)
    assert standing() == ("passed", 3, 3)
    reset(workspace, lab, now)
    assert standing() == ("started", 0, 0)
    catch_up(workspace, lab, now)
    assert standing()[0] == "caught up"


def test_solution_before_an_attempt_needs_a_yes(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    with pytest.raises(Conflict, match="not tried lab 07"):
        solution(workspace, lab)
    text = (lab.folder / "solution.py").read_text()
    assert solution(workspace, lab, confirmed=True).text == text
    check(workspace, lab)
    assert solution(workspace, lab).text == text


def test_notebook_holds_the_lesson(workspace: Workspace, lab: Lab, now: datetime) -> None:
    made = notebook(workspace, lab, now)
    book = nbformat.read(made.file, as_version=4)
    nbformat.validate(book)
    assert [(cell.cell_type, cell.source) for cell in book.cells] == [
        ("markdown", "# Circles"),
        ("code", "radius = 2.0\nprint(radius)"),
    ]
    assert made.backup == ""


def test_notebook_is_made_from_the_learners_lesson(workspace: Workspace, lab: Lab, now: datetime) -> None:
    start(workspace, lab)
    lesson = workspace.labs / lab.name / "lesson.py"
    lesson.write_text(lesson.read_text().replace("2.0", "3.0"))
    assert "radius = 3.0" in Path(notebook(workspace, lab, now).file).read_text()


def test_a_notebook_that_was_worked_in_is_kept(workspace: Workspace, lab: Lab, now: datetime) -> None:
    made = Path(notebook(workspace, lab, now).file)
    assert notebook(workspace, lab, now).backup == ""
    book = json.loads(made.read_text())
    book["cells"][1]["source"] = "radius = 5.0"
    made.write_text(json.dumps(book))
    kept = Path(notebook(workspace, lab, now).backup)
    assert "radius = 5.0" in kept.read_text()
    assert "radius = 2.0" in made.read_text()


def test_damaged_progress_is_said(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    (workspace.labs / lab.name / "progress.json").write_text('{"attempts": "many"}')
    with pytest.raises(InvalidData, match=r"progress\.json is damaged"):
        Desk(workspace, lab).progress()


def test_find_workspace_goes_up_from_the_lab(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    assert find_workspace(workspace.labs / lab.name) == workspace


def test_find_workspace_else_takes_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("BOTTEGA_WORKSPACE", str(tmp_path / "set"))
    assert find_workspace(tmp_path / "elsewhere").root == tmp_path / "set"


def test_a_newer_workspace_is_refused(workspace: Workspace) -> None:
    (workspace.root / "workspace.json").write_text('{"format": 99}')
    with pytest.raises(StorageError, match="newer version"):
        find_workspace(workspace.root)
