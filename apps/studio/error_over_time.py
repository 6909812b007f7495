"""The error over time: MAE by version, and the sums that raise the alarm."""

from typing import Literal

import altair as alt
import pandas as pd
import streamlit as st

from bottega.monitoring.alerts import Alert
from bottega.monitoring.monitor import Monitor
from bottega.serving.deployment import Change
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE
from bottega.workspace import Workspace
from studio import reading
from studio.history import History, history
from studio.look import ALARM, INK, MUTED, finish, versions_scale

Period = Literal["day", "hour"]
SHOWN_THRESHOLDS = 3
"""A sum that nobody heeds grows for ever: the axis ends at this many thresholds."""
TIME_AXIS = alt.Axis(format="%-d %b", labelOverlap=True, tickCount=10)


def show_error_over_time(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    del settings
    found = history(workspace, usecase, _monitor(usecase))
    marks = moments(found, reading.alerts(workspace, usecase), reading.deployments(workspace).history)
    _figures(found)
    period: Period = st.segmented_control(
        "Error by", ("day", "hour"), default="day", required=True, key="period", label_visibility="collapsed"
    )
    st.altair_chart(mae_chart(found, period, levels(workspace, usecase, found), marks), width="stretch", key="mae")
    if found.sums.empty:
        st.caption("The error sums need a monitoring reference of the version; it is taken when a version is trained.")
    else:
        st.altair_chart(sums_chart(found, marks), width="stretch", key="sums")


def _monitor(usecase: str) -> Monitor:
    """How the use case declares that it is watched. Its declaration imports the model's library, so only here."""
    from usecases import find

    return find(usecase).monitor


def _figures(found: History) -> None:
    last = found.daily.iloc[-1]
    normal = found.normals.get(int(last["model_version"]))
    unit, counts = found.monitor.unit, found.counts
    figures = {
        f"{last['mae']:.2f} {unit}": "MAE of the last day" + (f" (normal {normal.mae:.2f})" if normal else ""),
        f"{last['bias']:+.2f} {unit}": "bias of the last day (predicted − actual)",
        f"{last['coverage']:.0%}": "of the last day's trips inside the interval",
        f"{counts.matched:,}": f"labels; {counts.waiting:,} to come, {counts.overdue:,} of them overdue",
    }
    st.html('<div class="figures">' + "".join(f"<div><b>{b}</b>{text}</div>" for b, text in figures.items()) + "</div>")


def moments(found: History, alerts: tuple[Alert, ...], changes: tuple[Change, ...]) -> pd.DataFrame:
    """What happened when, on the clock of the requests: at (city time), what, why, colour.

    A version goes live where it first answers: after a replay of past days the deployment's own clock says when the
    replay ran.
    """
    rows = [(alert.detection.at, f"alarm, version {alert.model_version}", alert.explanation, ALARM) for alert in alerts]
    first = found.hourly.groupby("model_version")["start"].min().sort_values()
    why = {change.version: change.reason for change in changes if change.role == "champion"}
    rows += [
        (at.to_pydatetime(), f"version {version} live", why.get(int(version), ""), INK) for version, at in first.items()
    ]
    table = pd.DataFrame(rows, columns=["at", "what", "why", "colour"])
    return table.assign(at=_local(pd.to_datetime(table["at"], utc=True)))


def levels(workspace: Workspace, usecase: str, found: History) -> pd.DataFrame:
    """Levels to compare with, of the newest version that answered: its normal error, and the baseline's."""
    version = int(found.daily["model_version"].max())
    normal = found.normals.get(version)
    rows = [] if normal is None else [(normal.mae, f"normal {normal.mae:.2f}")]
    registered = next((v for v in reading.versions(workspace, usecase) if v.version == version), None)
    baseline = None if registered is None else registered.metrics.get("baseline_mae_min")
    if baseline is not None:
        rows.append((baseline, f"baseline {baseline:.2f}"))
    return pd.DataFrame(rows, columns=["mae", "name"])


def mae_chart(found: History, period: Period, level: pd.DataFrame, marks: pd.DataFrame) -> alt.LayerChart:
    """MAE by day or hour and version, with levels, alarms and deployments."""
    table = found.daily if period == "day" else found.hourly
    rows = table.assign(at=_local(table["start"]), version="version " + table["model_version"].astype(str))
    names = [f"version {version}" for version in sorted(table["model_version"].unique())]
    unit, top = found.monitor.unit, 1.25 * max([*table["mae"], *level["mae"]])
    line = (
        alt.Chart(rows)
        .mark_line(
            point=alt.OverlayMarkDef(size=28) if period == "day" else False, strokeWidth=2 if period == "day" else 1.2
        )
        .encode(
            x=alt.X("at:T", title=f"{period.capitalize()} of the request, city time", axis=TIME_AXIS),
            y=alt.Y("mae:Q", title=f"Mean absolute error, {unit}", scale=alt.Scale(domain=[0, top], nice=False)),
            color=alt.Color(
                "version:N", title=None, scale=versions_scale(names), legend=alt.Legend(orient="top", offset=2)
            ),
            tooltip=[
                alt.Tooltip("at:T", title="From", format="%a %-d %b %Y %H:%M"),
                alt.Tooltip("version:N", title="Model"),
                alt.Tooltip("mae:Q", title=f"MAE, {unit}", format=".2f"),
                alt.Tooltip("bias:Q", title=f"Bias, {unit}", format="+.2f"),
                alt.Tooltip("coverage:Q", title="Inside interval", format=".0%"),
                alt.Tooltip("labels:Q", title="Labels", format=","),
            ],
        )
    )
    rule = alt.Chart(level).mark_rule(strokeDash=[5, 4], color=MUTED).encode(y="mae:Q")
    text = (
        alt.Chart(level)
        .mark_text(align="left", dx=6, color=MUTED, fontSize=11)
        .encode(y="mae:Q", x=alt.value("width"), text="name:N")
    )
    chart = alt.layer(rule, text, line, *_marks(marks)).properties(
        height=340,
        title=alt.Title("Error over time", subtitle="of requests whose labels have arrived, by model version"),
    )
    return finish(chart)


def sums_chart(found: History, marks: pd.DataFrame) -> alt.LayerChart:
    """CUSUM: how far the error has drifted from normal in all, up and down, against the threshold of the alarm."""
    sums = found.sums.assign(at=_local(found.sums["end"]))
    long = sums.melt(["at", "model_version"], ["above", "below"], "side", "sum")
    long["name"] = long["side"].map({"above": "trips take longer", "below": "trips take less"})
    long["line"] = long["side"] + long["model_version"].astype(str)
    threshold = pd.DataFrame({"sum": [found.monitor.threshold], "name": [f"alarm at {found.monitor.threshold:g}"]})
    top = min(float(long["sum"].max()) * 1.1, SHOWN_THRESHOLDS * found.monitor.threshold)
    top = max(top, 1.3 * found.monitor.threshold)
    line = (
        alt.Chart(long)
        .mark_line(interpolate="step-after", strokeWidth=1.8, clip=True)
        .encode(
            x=alt.X("at:T", title="Hour in which labels arrived, city time", axis=TIME_AXIS),
            y=alt.Y("sum:Q", title="Sum, standard deviations", scale=alt.Scale(domain=[0, top], nice=False)),
            color=alt.Color(
                "name:N",
                title=None,
                scale=alt.Scale(domain=["trips take longer", "trips take less"], range=["#e69f00", "#56b4e9"]),
                legend=alt.Legend(orient="top", offset=2),
            ),
            detail="line:N",
            tooltip=[
                alt.Tooltip("at:T", title="Until", format="%a %-d %b %Y %H:%M"),
                alt.Tooltip("name:N", title="Side"),
                alt.Tooltip("sum:Q", title="Sum", format=".1f"),
                alt.Tooltip("model_version:N", title="Version"),
            ],
        )
    )
    rule = alt.Chart(threshold).mark_rule(color=ALARM, strokeDash=[5, 4]).encode(y="sum:Q")
    text = (
        alt.Chart(threshold)
        .mark_text(align="left", dx=6, color=ALARM, fontSize=11)
        .encode(y="sum:Q", x=alt.value("width"), text="name:N")
    )
    subtitle = "CUSUM of the hourly median log error: a lasting shift adds up, the noise of single trips cancels"
    chart = alt.layer(rule, text, line, *_marks(marks)).properties(
        height=300, title=alt.Title("What raises the alarm", subtitle=subtitle)
    )
    return finish(chart)


def _marks(marks: pd.DataFrame) -> list[alt.Chart]:
    """Lines at the moments, what happened beside them: deployments on the right, alarms on the left, a row lower."""
    base = alt.Chart(marks).encode(x="at:T", color=alt.Color("colour:N", scale=None), tooltip=["what:N", "why:N"])
    live, alarm = (base.transform_filter(f"datum.colour {sign} '{ALARM}'") for sign in ("!=", "=="))
    return [
        base.mark_rule(strokeWidth=1.2, opacity=0.8),
        live.mark_text(align="left", dx=4, fontSize=11, baseline="top").encode(text="what:N", y=alt.value(2)),
        alarm.mark_text(align="right", dx=-4, fontSize=11, baseline="top").encode(text="what:N", y=alt.value(16)),
    ]


def _local(moments: pd.Series) -> pd.Series:
    """UTC moments as the city's wall clock, which the browser then shows unchanged."""
    return moments.dt.tz_convert(CITY_TIMEZONE).dt.tz_localize(None)
