"""The Studio's page: header, the loop as a live picture, and the panels. Run it with `bottega studio`."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from bottega.features.view import FeatureView
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace
from studio import reading
from studio.alerts import show_alerts
from studio.ask import show_ask
from studio.card import show_card
from studio.drift import show_drift
from studio.error_over_time import show_error_over_time
from studio.features import show_features
from studio.look import STYLE
from studio.loop import show_loop
from studio.messages import told
from studio.zone_map import show_zone_map

Panel = Callable[[Settings, Workspace, str], None]
FIRST = "eta"
REFRESH_S = 10.0
ICON = Path(__file__).with_name("icon.svg")
MAP = {"ETA map": show_zone_map}
FEATURES = {"Features": show_features}
PANELS: dict[str, Panel] = {
    "Ask": show_ask,
    "Error over time": show_error_over_time,
    "Drift": show_drift,
    "Alerts": show_alerts,
    "Model card": show_card,
}
STILL = (show_ask, show_card)  # not drawn again by themselves: what a person types there stays


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="Bottega Studio", page_icon=ICON, layout="wide")
    st.html(STYLE)
    with told():
        settings, workspace = reading.open_workspace()
        usecase = _choose()
        show_loop(settings, workspace, usecase.name)
        _panels(settings, workspace, usecase)


def _choose() -> UseCase:
    """The use case that the page shows; `?usecase=` in its address chooses too."""
    from usecases import discover  # a use case's declaration imports the platform's training, so only here

    known = discover()
    if len(known) == 1:
        return known[FIRST]
    chosen = st.segmented_control(
        "Use case",
        list(known),
        default=FIRST,
        required=True,
        key="usecase",
        label_visibility="collapsed",
        bind="query-params",
    )
    return known[chosen]


def panels(usecase: UseCase) -> dict[str, Panel]:
    """The panels of a use case by name; the map is ETA's, and features have those who declare some."""
    windowed = any(isinstance(view, FeatureView) for view in usecase.views)
    return {**(MAP if usecase.name == FIRST else {}), **(FEATURES if windowed else {}), **PANELS}


def _panels(settings: Settings, workspace: Workspace, usecase: UseCase) -> None:
    shown = panels(usecase)
    for tab, show in zip(st.tabs(list(shown), key="panel", bind="query-params"), shown.values(), strict=True):
        if tab.open:
            with tab:
                st.fragment(_panel, run_every=None if show in STILL else REFRESH_S)(
                    show, settings, workspace, usecase.name
                )


def _panel(show: Panel, settings: Settings, workspace: Workspace, usecase: str) -> None:
    with told():
        show(settings, workspace, usecase)


if __name__ == "__main__":
    main()
