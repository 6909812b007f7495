"""The model card: what the use case is for, who may be harmed, and the figures of the live model's training."""

from pathlib import Path

import streamlit as st

from bottega.settings import Settings
from bottega.workspace import Workspace


def show_card(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    import usecases

    path = Path(next(iter(usecases.__path__))) / usecase / "README.md"
    if path.is_file():
        st.markdown(path.read_text("utf-8"))
    else:
        st.info(f"{usecase} has no model card.", icon=":material/info:")
