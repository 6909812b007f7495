"""The learner's desk: the copies in the workspace, their backups, and how far the learner is.

Nothing of the learner's is ever overwritten without a backup whose name holds the time.
"""

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from bottega.errors import Conflict, InvalidData, NotFound
from bottega.files import disk_errors, write_atomic, write_json
from bottega.lab.catalogue import Lab, labs
from bottega.settings import load_settings
from bottega.workspace import Workspace

Standing = Literal["not started", "started", "attempted", "passed", "caught up"]


class LabProgress(msgspec.Struct, frozen=True):
    """`progress.json` beside the learner's copies."""

    attempts: int = 0
    passed: bool = False
    caught_up: bool = False
    """The answer was copied from the solution."""
    checks: int = 0
    passing_checks: int = 0
    failing: tuple[str, ...] = ()
    """Functions that the last check found wanting."""
    wrong: tuple[str, ...] = ()
    """Keys of the wrong answers that the last check recognised."""
    hint_steps: dict[str, int] = {}
    """How far up each function's ladder the learner is."""


@dataclass(frozen=True)
class LabStatus:
    """One line of the list of labs."""

    name: str
    title: str
    question: str
    minutes: int
    status: Standing
    attempts: int
    passing_checks: int
    checks: int


@dataclass(frozen=True)
class Started:
    """The folder to work in; `copied` are new, `kept` were there already and were left alone."""

    lab: str
    folder: str
    copied: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Replaced:
    """A file of the learner's that was replaced, and where the former one is ("" where there was nothing to keep)."""

    lab: str
    file: str
    backup: str


@dataclass(frozen=True)
class Solution:
    """The text of a lab's solution."""

    lab: str
    text: str


@dataclass(frozen=True)
class NotebookFile:
    """The lesson as a notebook, and the backup of an older one ("" where there was none that differed)."""

    lab: str
    file: str
    backup: str


@dataclass(frozen=True)
class Desk:
    """A learner's folder for one lab."""

    workspace: Workspace
    lab: Lab

    @property
    def folder(self) -> Path:
        """`<workspace>/labs/NN_name`."""
        return self.workspace.labs / self.lab.name

    def exercise(self) -> Path:
        """The learner's exercise.py; NotFound where the lab was not started."""
        path = self.folder / "exercise.py"
        if not path.is_file():
            raise NotFound(
                f"Lab {self.lab.number} has no exercise.py in {self.folder}.",
                next_step=f"Run 'bottega lab start {self.lab.number}'.",
            )
        return path

    def progress(self) -> LabProgress:
        """How far the learner is."""
        path = self.folder / "progress.json"
        if not path.exists():
            return LabProgress()
        try:
            return msgspec.json.decode(path.read_bytes(), type=LabProgress)
        except msgspec.DecodeError:
            raise InvalidData(
                f"{path} is damaged.", next_step="Remove it: only hint steps and marks are in it."
            ) from None

    def remember(self, **changes: Any) -> LabProgress:
        """Write the progress with these fields changed."""
        progress = msgspec.structs.replace(self.progress(), **changes)
        write_json(self.folder / "progress.json", progress)
        return progress

    def replace(self, name: str, content: bytes, now: datetime) -> Replaced:
        """Write the file `name`, after keeping a former one that differs under a name with the time."""
        path = self.folder / name
        kept = ""
        if path.exists() and path.read_bytes() != content:
            kept = str(_keep(path, now))
        write_atomic(path, content)
        return Replaced(self.lab.name, str(path), kept)


def _keep(path: Path, now: datetime) -> Path:
    """Copy a file into `backup/`, under a name that nothing has yet."""
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = path.parent / "backup"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        for count in range(1, 10_000):
            suffix = "" if count == 1 else f"-{count}"
            target = folder / f"{path.stem}.{stamp}{suffix}{path.suffix}"
            with contextlib.suppress(FileExistsError), target.open("xb") as file:
                file.write(path.read_bytes())
                file.flush()
                os.fsync(file.fileno())
                return target
    raise Conflict(f"{folder} is full of backups of the same second.", next_step="Try again in a second.")


def overview(workspace: Workspace, folder: Path | None = None) -> tuple[LabStatus, ...]:
    """All labs with the learner's standing in each."""
    return tuple(_status(Desk(workspace, lab)) for lab in labs(folder))


def _status(desk: Desk) -> LabStatus:
    progress, card = desk.progress(), desk.lab.card
    standing: Standing = "not started"
    if progress.caught_up:
        standing = "caught up"
    elif progress.passed:
        standing = "passed"
    elif progress.attempts:
        standing = "attempted"
    elif (desk.folder / "exercise.py").exists():
        standing = "started"
    return LabStatus(
        name=desk.lab.name,
        title=card.title,
        question=card.question,
        minutes=card.minutes,
        status=standing,
        attempts=progress.attempts,
        passing_checks=progress.passing_checks,
        checks=progress.checks,
    )


def start(workspace: Workspace, lab: Lab) -> Started:
    """Copy the lab's lesson and exercise to the learner's folder; what is there already stays as it is."""
    desk = Desk(workspace, lab)
    copied, kept = [], []
    for name in ("lesson.py", "exercise.py"):
        if (desk.folder / name).exists():
            kept.append(name)
        else:
            write_atomic(desk.folder / name, (lab.folder / name).read_bytes())
            copied.append(name)
    return Started(lab.name, str(desk.folder), tuple(copied), tuple(kept))


def reset(workspace: Workspace, lab: Lab, now: datetime) -> Replaced:
    """Put the starter back, with a backup of the learner's file; the steps of the hint ladders are kept."""
    desk = Desk(workspace, lab)
    desk.exercise()
    replaced = desk.replace("exercise.py", (lab.folder / "exercise.py").read_bytes(), now)
    desk.remember(attempts=0, passed=False, caught_up=False, checks=0, passing_checks=0, failing=(), wrong=())
    return replaced


def catch_up(workspace: Workspace, lab: Lab, now: datetime) -> Replaced:
    """Put the solution in place of the learner's file, with a backup, to go on from there."""
    start(workspace, lab)
    desk = Desk(workspace, lab)
    replaced = desk.replace("exercise.py", (lab.folder / "solution.py").read_bytes(), now)
    desk.remember(caught_up=True)
    return replaced


def solution(workspace: Workspace, lab: Lab, confirmed: bool = False) -> Solution:
    """The solution's text; Conflict where no check was run yet and the wish is not `confirmed`."""
    if not confirmed and not Desk(workspace, lab).progress().attempts:
        raise Conflict(
            f"You have not tried lab {lab.number} yet.",
            next_step=f"Run 'bottega lab check {lab.number}' first, or say --yes to see the solution all the same.",
        )
    return Solution(lab.name, (lab.folder / "solution.py").read_text("utf-8"))


def notebook(workspace: Workspace, lab: Lab, now: datetime) -> NotebookFile:
    """Write the learner's lesson.py as lesson.ipynb, with a backup of an older notebook that differs."""
    import jupytext
    import nbformat

    start(workspace, lab)
    desk = Desk(workspace, lab)
    book = jupytext.read(desk.folder / "lesson.py", fmt="py:percent")
    for i, cell in enumerate(book.cells):
        cell["id"] = f"cell-{i}"  # the same lesson gives the same file
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    replaced = desk.replace("lesson.ipynb", nbformat.writes(book, version=4).encode(), now)
    return NotebookFile(lab.name, replaced.file, replaced.backup)


def find_workspace(start: Path) -> Workspace:
    """The workspace that `start` lies in, else the one of the settings: what a lesson opens."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / "workspace.json").is_file():
            return Workspace.open(folder)
    return Workspace.open(load_settings().workspace)
