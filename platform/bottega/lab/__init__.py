"""Labs: one question each; the learner works on a copy in the workspace, and checks test what it does."""

from bottega.lab.catalogue import Lab, find_lab, labs
from bottega.lab.desk import (
    LabStatus,
    NotebookFile,
    Replaced,
    Solution,
    Started,
    catch_up,
    find_workspace,
    notebook,
    overview,
    reset,
    solution,
    start,
)
from bottega.lab.examination import CheckReport, CheckResult, Problem, check
from bottega.lab.hints import Hint, hint

__all__ = [
    "CheckReport",
    "CheckResult",
    "Hint",
    "Lab",
    "LabStatus",
    "NotebookFile",
    "Problem",
    "Replaced",
    "Solution",
    "Started",
    "catch_up",
    "check",
    "find_lab",
    "find_workspace",
    "hint",
    "labs",
    "notebook",
    "overview",
    "reset",
    "solution",
    "start",
]
