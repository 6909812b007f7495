"""The Studio's page: header, the loop as a live picture, and the panels. Run it with `bottega studio`."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from bottega.settings import Settings
from bottega.workspace import Workspace
from studio import reading
from studio.alerts import show_alerts
from studio.drift import show_drift
from studio.error_over_time import show_error_over_time
from studio.features import show_features
from studio.look import STYLE
from studio.loop import show_loop
from studio.messages import told
from studio.zone_map import show_zone_map

Panel = Callable[[Settings, Workspace, str], None]
USECASE = "eta"
REFRESH_S = 10.0
ICON = Path(__file__).with_name("icon.svg")
PANELS: dict[str, Panel] = {
    "ETA map": show_zone_map,
    "Features": show_features,
    "Error over time": show_error_over_time,
    "Drift": show_drift,
    "Alerts": show_alerts,
}


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="Bottega Studio", page_icon=ICON, layout="wide")
    st.html(STYLE)
    with told():
        settings, workspace = reading.open_workspace()
        show_loop(settings, workspace, USECASE)
        _panels(settings, workspace)


def _panels(settings: Settings, workspace: Workspace) -> None:
    for tab, show in zip(st.tabs(list(PANELS), key="panel", bind="query-params"), PANELS.values(), strict=True):
        if tab.open:
            with tab:
                st.fragment(_panel, run_every=REFRESH_S)(show, settings, workspace)


def _panel(show: Panel, settings: Settings, workspace: Workspace) -> None:
    with told():
        show(settings, workspace, USECASE)


if __name__ == "__main__":
    main()
