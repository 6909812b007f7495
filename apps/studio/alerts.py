"""Alerts: what was noticed, on which evidence, and what to do next."""

from html import escape

import streamlit as st

from bottega.monitoring.alerts import Alert
from bottega.settings import Settings
from bottega.workspace import Workspace
from studio import reading
from studio.messages import empty
from studio.words import moment

_BADGE = {
    "open": ("open", ":material/warning:", "orange"),
    "acknowledged": ("acknowledged", ":material/visibility:", "blue"),
    "resolved": ("resolved", ":material/check:", "green"),
}


def show_alerts(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel, the newest alert first."""
    del settings
    alerts = reading.alerts(workspace, usecase)
    if not alerts:
        empty("No alert was raised.", f"bottega monitor {usecase}")
    for alert in reversed(alerts):
        _alert(alert)


def _alert(alert: Alert) -> None:
    label, icon, colour = _BADGE[alert.status]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{alert.id}**, version {alert.model_version}, {moment(alert.detection.at)}")
            st.badge(label, icon=icon, color=colour)  # type: ignore[arg-type]
        st.text(alert.explanation)
        st.html(f'<div class="figures">{_evidence(alert)}</div>')
        if alert.status == "resolved":
            st.caption(f"Ended by version {alert.resolved_by}.")
        else:
            st.caption("Next step")
            st.code(alert.next_step, language="bash", wrap_lines=True)


def _evidence(alert: Alert) -> str:
    evidence, detection = alert.evidence, alert.detection
    figures = {
        f"{evidence.mae_before:.2f} → {evidence.mae_now:.2f} min": "MAE, normal and since the change",
        f"{evidence.bias_now:+.2f} min": "bias since the change",
        f"{evidence.shift_share:+.0%}": "actual against predicted durations",
        f"{detection.value:.1f} of {detection.threshold:g}": f"{detection.detector.upper()} sum at the alarm, sd",
        f"{evidence.labels_now:,}": f"labels since {moment(detection.change_at)}",
    }
    if evidence.hours_since_start is not None:
        figures[f"{evidence.hours_since_start:.0f} h"] = "from the incident's start to the alarm"
    return "".join(f"<div><b>{escape(figure)}</b>{escape(what)}</div>" for figure, what in figures.items())
