"""Ask: the use case's request as a form, the running server's answer as a table, and what it was computed from."""

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from bottega.serving.client import Client, Predictions
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace
from studio import reading
from studio.messages import told

MOST_CHOICES = 2000
"""Of a list to choose from; more ids are typed."""


def show_ask(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    with told(), Client.from_workspace(workspace, reading.TIMEOUT_S) as client:
        about = client.describe(usecase)
        left, right = st.columns([1, 2], gap="large")
        with left, st.form(f"ask {usecase}", border=False):
            row = {field["name"]: _ask(field, about) for field in about["request"]}
            asked = st.form_submit_button("Ask", type="primary")
        with right:
            if asked and None in row.values():
                st.info("Choose a file first.", icon=":material/info:")
            elif asked:
                _say(client.predict(usecase, [row], logged=False), about)
            else:
                st.caption(f"Version {about['model_version']} answers; a question from here is not logged.")


def _ask(field: dict[str, Any], about: dict[str, Any]) -> object:
    """A field's widget, and the value as JSON wants it; None where a file is not chosen yet."""
    label = field.get("description") or field["name"]
    key = f"ask {about['usecase']} {field['name']}"
    if field.get("is_time"):
        return _ask_when(key, about)
    if field.get("is_binary"):
        file = st.file_uploader(label, key=key)
        return None if file is None else file.getvalue()
    if field.get("shape"):
        texts = st.text_input(
            label, key=key, value=_listed(about["example"][field["name"]]), help="Values with commas."
        )
        return [_typed(field, text.strip()) for text in texts.split(",") if text.strip()]
    if 0 < len(field.get("known", ())) <= MOST_CHOICES:
        return st.selectbox(label, field["known"], key=key)
    example = about["example"][field["name"]]
    if field["datatype"] == "BOOL":
        return st.checkbox(label, key=key)
    return _typed(field, st.text_input(label, value=str(example), key=key))


def _ask_when(key: str, about: dict[str, Any]) -> str:
    day = st.date_input("Day", value=_first_day(about), format="YYYY-MM-DD", key=f"{key} day")
    hour = st.slider("Time, city time", time(0), time(23, 30), time(8, 30), format="HH:mm", key=f"{key} hour")
    return parse_time(f"{day}T{hour:%H:%M}", CITY_TIMEZONE).isoformat()


def _first_day(about: dict[str, Any]) -> date:
    """The day after the training span, whose events the online store most likely knows."""
    return datetime.fromisoformat(about["trained"]["until"]).astimezone(ZoneInfo(CITY_TIMEZONE)).date()


def _typed(field: dict[str, Any], text: str) -> object:
    """Text as the field's type; what is none goes as it is, for the server to say what is wrong."""
    if field["datatype"] == "BYTES":
        return text
    try:
        return int(text) if field["datatype"].startswith("INT") else float(text)
    except ValueError:
        return text


def _listed(values: list[object]) -> str:
    return ", ".join(str(value) for value in values)


def _say(found: Predictions, about: dict[str, Any]) -> None:
    answer = found.answers[0]
    lists = {name: value for name, value in answer.items() if isinstance(value, list)}
    alone = [
        {"field": name, "value": _shown(value), "unit": found.units.get(name, "")}
        for name, value in answer.items()
        if name not in lists
    ]
    if alone:
        st.dataframe(pd.DataFrame(alone), hide_index=True, width="stretch", key="answer")
    if lists:
        st.dataframe(pd.DataFrame(lists), hide_index=True, width="stretch", key="answers")
    st.caption(f"Answered by version {found.model_version} of {about['usecase']}.")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
