import pytest

from bottega.errors import NotFound
from bottega.lab import Lab, check, hint, start
from bottega.workspace import Workspace


def test_the_ladder_is_climbed_and_remembered(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    given = [hint(workspace, lab) for _ in range(4)]
    assert [(h.function, h.step, h.of) for h in given] == [
        ("area", 1, 3),
        ("area", 2, 3),
        ("area", 3, 3),
        ("area", 3, 3),
    ]
    assert [h.text for h in given[:3]] == list(lab.guide.ladder["area"])


def test_each_function_has_its_own_ladder(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    hint(workspace, lab)
    assert (hint(workspace, lab, "girth").step, hint(workspace, lab, "area").step) == (1, 2)


def test_the_hint_is_for_what_fails_and_says_what_was_recognised(workspace: Workspace, lab: Lab) -> None:
    start(workspace, lab)
    exercise = workspace.labs / lab.name / "exercise.py"
    exercise.write_text("def area(r):\n    return 3.141592653589793 * r\n")
    check(workspace, lab)
    assert hint(workspace, lab).wrong == ("Square the radius.",)
    exercise.write_text("def area(r):\n    return 3.141592653589793 * r * r\n")
    check(workspace, lab)
    given = hint(workspace, lab)
    assert (given.function, given.wrong) == ("girth", ())


def test_unknown_function_and_unstarted_lab(workspace: Workspace, lab: Lab) -> None:
    with pytest.raises(NotFound, match="bottega lab start 07"):
        hint(workspace, lab)
    start(workspace, lab)
    with pytest.raises(NotFound, match="Its functions are area, girth"):
        hint(workspace, lab, "volume")
