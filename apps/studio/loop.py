"""The page's head and the loop as a live picture: one card a stage, arrows in the direction of the data."""

from html import escape

import streamlit as st

from bottega.settings import Settings
from bottega.workspace import Workspace
from studio.look import ALARM, EMPTY, FINE
from studio.snapshot import Snapshot, take_snapshot
from studio.stages import Stage, State, stages

REFRESH_S = 2.0
_COLOUR = {"empty": EMPTY, "fine": FINE, "alarm": ALARM}
_WORD = {"empty": "○ not yet", "fine": "● fine", "alarm": "▲ alarm"}
_PLACE = {  # (row, column) of the grid: clockwise, so that the picture is a loop
    "Data": (1, 1),
    "Features": (1, 3),
    "Training": (1, 5),
    "Registry": (1, 7),
    "Compile": (3, 7),
    "Serving": (3, 5),
    "Monitoring": (3, 3),
    "Retrain": (3, 1),
}
_WAY = {  # arrow after a stage
    "Data": (1, 2, "⟶"),
    "Features": (1, 4, "⟶"),
    "Training": (1, 6, "⟶"),
    "Registry": (2, 7, "↓"),
    "Compile": (3, 6, "⟵"),
    "Serving": (3, 4, "⟵"),
    "Monitoring": (3, 2, "⟵"),
    "Retrain": (2, 1, "↑"),
}


def show_loop(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the loop, and draw it again every two seconds."""
    st.fragment(_loop, run_every=REFRESH_S)(settings, workspace, usecase)


def _loop(settings: Settings, workspace: Workspace, usecase: str) -> None:
    found = take_snapshot(settings, workspace, usecase)
    st.html(header(workspace, found) + picture(stages(found)))


def header(workspace: Workspace, found: Snapshot) -> str:
    """The page's head: which workspace, whose data, which version answers."""
    source = found.data_source if found.info is None else found.info.trained.data_source
    live = "nothing" if found.live is None else f"{found.usecase} version {found.live}"
    facts = {"Workspace": str(workspace.root), "Data": source or "none", "Live": live}
    shown = "".join(
        f'<span class="fact" title="{escape(value)}"><b>{name}</b>{escape(value)}</span>'
        for name, value in facts.items()
    )
    return f'<header class="head"><span class="brand">Bottega <span>Studio</span></span>{shown}</header>'


def picture(found: tuple[Stage, ...]) -> str:
    """The loop as HTML: no script, nothing from elsewhere."""
    states = {stage.name: stage.state for stage in found}
    following = dict(zip(states, [*list(states)[1:], next(iter(states))], strict=True))
    cards = "".join(_card(stage) for stage in found)
    ways = "".join(_way(name, states[name], states[following[name]]) for name in states)
    return f'<section class="loop" aria-label="The loop, stage by stage">{cards}{ways}</section>'


def _card(stage: Stage) -> str:
    row, column = _PLACE[stage.name]
    command = f'<code title="{escape(stage.command)}">{escape(stage.command)}</code>' if stage.command else ""
    return (
        f'<article class="stage {stage.state}" data-stage="{stage.name}" '
        f'style="grid-row:{row};grid-column:{column};--state:{_COLOUR[stage.state]}">'
        f'<div class="top"><span>{stage.name}</span><span class="state">{_WORD[stage.state]}</span></div>'
        f'<div class="figure">{escape(stage.figure)}</div>'
        f'<div class="detail">{escape(stage.detail)}</div>{command}</article>'
    )


def _way(name: str, state: State, following: State) -> str:
    row, column, arrow = _WAY[name]
    kind = "alarm" if state == "alarm" else "on" if "empty" not in (state, following) else ""
    return f'<span class="way {kind}" aria-hidden="true" style="grid-row:{row};grid-column:{column}">{arrow}</span>'
