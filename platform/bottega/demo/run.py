"""Running the demo: stage after stage, each kept when done, so that a run that failed can be resumed."""

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import msgspec

from bottega.datasets.origin import resolve
from bottega.demo.report import Report, make_report
from bottega.demo.scenario import Scenario, choose
from bottega.demo.stages import Demo, Figures
from bottega.demo.story import Stage, story
from bottega.errors import Conflict, Unavailable
from bottega.files import write_json
from bottega.progress import Progress, silent
from bottega.serving.address import read_server
from bottega.serving.process import running
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace


class State(msgspec.Struct):
    """What is done: each stage's figures and seconds, in `demo/state.json`."""

    scenario: str
    done: dict[str, Figures] = {}
    seconds: dict[str, float] = {}


class Narrator(Protocol):
    """Tells a person what happens."""

    def begin(self, number: int, of: int, stage: Stage) -> contextlib.AbstractContextManager[Progress]:
        """A stage begins; the block is its work, and what it yields reports how far it is."""

    def end(self, stage: Stage, figures: Figures, seconds: float, kept: bool) -> None:
        """A stage is done, or was `kept` from an earlier run."""


@contextlib.contextmanager
def played(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    scenario: str | None,
    narrator: Narrator,
    *,
    resume: bool = False,
) -> Iterator[Report]:
    """Play the whole loop, write `demo/report.json`, and keep the server running for the length of the block.

    With `resume`, stages that are done are kept. Raises whatever a stage raises; what was done by then stays done.
    """
    chosen = choose(scenario, resolve(usecase.dataset, workspace, settings))
    state = _state(workspace, chosen, resume)
    demo = Demo(usecase, workspace, settings, chosen, silent)
    with contextlib.ExitStack() as stack:
        stages = story(demo)
        for number, stage in enumerate(stages, 1):
            if stage.needs_server and read_server(workspace) is None:
                stack.enter_context(_server(workspace, settings))
            kept = stage.name in state.done
            if not kept:
                _play(demo, stage, state, partial(narrator.begin, number, len(stages)))
                write_json(workspace.demo / "state.json", state)
            narrator.end(stage, state.done[stage.name], state.seconds[stage.name], kept)
        report = make_report(chosen, state.done, sum(state.seconds.values()))
        write_json(workspace.demo / "report.json", report)
        yield report


def _play(
    demo: Demo, stage: Stage, state: State, begin: Callable[[Stage], contextlib.AbstractContextManager[Progress]]
) -> None:
    started = time.monotonic()
    with begin(stage) as progress:
        state.done[stage.name] = stage.work(dataclasses.replace(demo, progress=progress), state.done)
    state.seconds[stage.name] = time.monotonic() - started


def _state(workspace: Workspace, scenario: Scenario, resume: bool) -> State:
    path = workspace.demo / "state.json"
    if not resume:
        return State(scenario.name)
    if not path.exists():
        raise Conflict(
            "There is no demo to resume in this workspace.", next_step="Run 'bottega demo' without --resume."
        )
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError:
        raise Conflict(f"{path} is damaged.", next_step="Run 'bottega demo' without --resume.") from None
    if state.scenario != scenario.name:
        raise Conflict(
            f"The demo of this workspace plays the scenario {state.scenario!r}, not {scenario.name!r}.",
            next_step=f"Say --scenario {shlex.quote(state.scenario)}, or leave --resume out.",
        )
    return state


@contextlib.contextmanager
def _server(workspace: Workspace, settings: Settings) -> Iterator[None]:
    """The workspace's server on the port of the settings, or on a free one where another process has that."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(running(workspace, settings.host, settings.http_port))
        except Unavailable:
            stack.enter_context(running(workspace, settings.host, 0))
        yield
