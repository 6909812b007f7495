"""Drift: how far each watched column has moved from the training data, and Evidently's page about it."""

import re
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from bottega.errors import NotFound
from bottega.monitoring.drift import STATEMENT
from bottega.monitoring.report import Summary
from bottega.settings import Settings
from bottega.workspace import Workspace
from studio import reading
from studio.look import ALARM, FINE, MUTED, finish
from studio.messages import empty
from studio.words import moment

_ELSEWHERE = re.compile(r"<link[^>]+https?://[^>]*>|<script[^>]+src=[\"']https?://[^>]*></script>", re.IGNORECASE)
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval' data:; style-src 'unsafe-inline'; img-src data: blob:; font-src data:\">"
)


def show_drift(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    del settings
    try:
        summary = reading.watched(workspace, usecase)
    except NotFound:
        return empty(f"{usecase} was not watched yet, so no drift is known.", f"bottega monitor {usecase}")
    if not summary.drift_columns:
        return empty("The latest look held too few requests for a drift report.", f"bottega monitor {usecase}")
    table = scores(summary)
    st.altair_chart(drift_chart(table, summary), width="stretch", key="drift")
    left, right = st.columns([2, 1], gap="large")
    left.dataframe(table.drop(columns="of_limit"), hide_index=True, width="stretch", column_config=_COLUMNS)
    with right:
        st.caption(STATEMENT)
        if summary.label_psi is not None:
            st.caption(f"PSI of the label itself (trip duration): {summary.label_psi:.3f}.")
    _report(summary)
    return None


_COLUMNS: dict[str, Any] = {
    "column": "Column",
    "method": "Method",
    "score": st.column_config.NumberColumn("Score", format="%.3f"),
    "limit": st.column_config.NumberColumn("Limit", format="%.2f"),
    "verdict": "Verdict",
}


def scores(summary: Summary) -> pd.DataFrame:
    """Each watched column: score, limit, verdict, and the score as a share of the limit."""
    rows = [
        (c.name, {"psi": "PSI", "wasserstein": "Wasserstein / sd"}[c.method], c.score, c.threshold, c.drifted)
        for c in summary.drift_columns.values()
    ]
    table = pd.DataFrame(rows, columns=["column", "method", "score", "limit", "drifted"])
    table["verdict"] = table.pop("drifted").map({True: "drift", False: "no drift"})
    return table.assign(of_limit=table["score"] / table["limit"])


def drift_chart(table: pd.DataFrame, summary: Summary) -> alt.LayerChart:
    """Scores in units of their own limit, so that columns judged by different methods compare."""
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=["no drift", "drift"], range=[FINE, ALARM]),
        legend=alt.Legend(orient="top", offset=2),
    )
    bars = (
        alt.Chart(table)
        .mark_bar(height=16, cornerRadiusEnd=2)
        .encode(
            y=alt.Y("column:N", title=None, sort=None, axis=alt.Axis(labelFontSize=12, domain=False, ticks=False)),
            x=alt.X("of_limit:Q", title="Score, as a multiple of its limit", axis=alt.Axis(tickCount=6)),
            color=colour,
            tooltip=[
                alt.Tooltip("column:N", title="Column"),
                alt.Tooltip("method:N", title="Method"),
                alt.Tooltip("score:Q", title="Score", format=".3f"),
                alt.Tooltip("limit:Q", title="Limit", format=".2f"),
            ],
        )
    )
    limit = (
        alt.Chart(pd.DataFrame({"of_limit": [1.0]})).mark_rule(color=MUTED, strokeDash=[5, 4]).encode(x="of_limit:Q")
    )
    title = alt.Title(
        "Drift of single columns against the training data",
        subtitle=f"requests up to {moment(summary.until)} to version {summary.model_version}; verdict: {summary.drift}",
    )
    return finish(alt.layer(bars, limit).properties(height=34 * len(table) + 110, title=title))


def _report(summary: Summary) -> None:
    page = Path(summary.drift_report or "")
    if not page.is_file():
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        wanted = st.toggle("Show Evidently's report here", key="evidently")
        st.download_button("Download it", page.read_bytes(), page.name, "text/html", type="tertiary")
    if wanted:
        st.iframe(closed_page(page.read_text("utf-8")), height=900, alt="Evidently's drift report")


def closed_page(html: str) -> str:
    """A page that may run what it holds and load nothing from elsewhere."""
    return _ELSEWHERE.sub("", html).replace("<head>", f"<head>{_POLICY}", 1)
