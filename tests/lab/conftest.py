"""A small lab to test the engine with, and a workspace to do it in."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bottega.lab import Lab, find_lab
from bottega.workspace import Workspace

CHECKS = """
import math
from bottega.lab.rules import Wrong, check, number

@check("area", "squares the radius")
def squares(area):
    got = number(area(2.0), "area(2.0)")
    if math.isclose(got, 2 * math.pi):
        raise Wrong("area(2.0) is 6.28, that is pi times the radius.", hint="not_squared")
    if not math.isclose(got, 4 * math.pi):
        raise Wrong(f"area(2.0) is {got:g}; it should be 12.57.")

@check("area", "is nothing for a point")
def point(area):
    if area(0.0) + 0 != 0:
        raise Wrong("area(0.0) should be 0.")

@check("girth", "goes round")
def girth(girth):
    if not math.isclose(number(girth(1.0), "girth(1.0)"), 2 * math.pi):
        raise Wrong("girth(1.0) should be 6.28.")
"""

HINTS = """
[lab]
title = "Circles"
question = "How large is a circle?"
minutes = 20
check_limit_s = 20
lesson_limit_s = 10

[ladder]
area = ["It grows faster than the radius.", "It grows with the square.", "math.pi * radius ** 2"]
girth = ["It grows as the radius does.", "Twice pi.", "2 * math.pi * radius"]

[wrong]
not_squared = "Square the radius."
"""

STARTER = "def area(radius):\n    raise NotImplementedError\n\n\ndef girth(radius):\n    raise NotImplementedError\n"
SOLUTION = (
    "import math\n\n\ndef area(radius):\n    return math.pi * radius**2\n\n\n"
    "def girth(radius):\n    return 2 * math.pi * radius\n"
)
LESSON = "# %% [markdown]\n# # Circles\n\n# %%\nradius = 2.0\nprint(radius)\n"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with one lab, `07_circles`."""
    folder = tmp_path / "shelf" / "07_circles"
    folder.mkdir(parents=True)
    parts = {"lesson.py": LESSON, "exercise.py": STARTER, "checks.py": CHECKS, "hints.toml": HINTS}
    for name, text in {**parts, "solution.py": SOLUTION}.items():
        (folder / name).write_text(text)
    return folder.parent


@pytest.fixture
def lab(shelf: Path) -> Lab:
    """The lab `07_circles`."""
    return find_lab("07", shelf)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def now() -> datetime:
    """A moment."""
    return datetime(2024, 1, 16, 8, 30, tzinfo=UTC)
