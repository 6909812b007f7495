"""Hints: a ladder of three steps for each function, climbed one step a call, and what the last wrong answers say."""

from dataclasses import dataclass

from bottega.errors import NotFound
from bottega.lab.catalogue import Lab
from bottega.lab.desk import Desk
from bottega.workspace import Workspace


@dataclass(frozen=True)
class Hint:
    """Step `step` of `of` for a function; `wrong` are the hints for wrong answers that the last check recognised."""

    lab: str
    function: str
    step: int
    of: int
    text: str
    wrong: tuple[str, ...]


def hint(workspace: Workspace, lab: Lab, function: str | None = None) -> Hint:
    """The next hint for `function`, by default the first one that the last check found wanting.

    The step is remembered; past the top, the last hint is said again. Raises NotFound for a function that the lab does
    not have, or where the lab was not started.
    """
    desk = Desk(workspace, lab)
    desk.exercise()
    progress = desk.progress()
    chosen = function or next(iter(progress.failing), lab.functions[0])
    if chosen not in lab.guide.ladder:
        raise NotFound(
            f"Lab {lab.number} has no function {chosen!r}.", next_step=f"Its functions are {', '.join(lab.functions)}."
        )
    ladder = lab.guide.ladder[chosen]
    step = min(progress.hint_steps.get(chosen, 0) + 1, len(ladder))
    desk.remember(hint_steps={**progress.hint_steps, chosen: step})
    wrong = tuple(lab.guide.wrong[key] for key in progress.wrong if key in lab.guide.wrong)
    return Hint(lab.name, chosen, step, len(ladder), ladder[step - 1], wrong)
