"""The map of ETAs: click a pickup zone, and the running server colours every zone by the minutes to it."""

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from bottega.serving.client import Client
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace
from studio import reading
from studio.messages import told
from studio.zone_chart import HEIGHT, zone_chart
from studio.zone_shapes import Flat, flat_shapes


def show_zone_map(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    with st.container():  # its own place: what follows stays where it is when the message comes or goes
        about = _describe(workspace, usecase)
    source = about["trained"]["data_source"] if about else reading.data_source(workspace, settings, usecase)
    zones, shapes, bridges = reading.zones(workspace, settings, source)
    left, right = st.columns([3, 1], gap="large")
    answers = None
    with right:
        pickup = _ask_where(zones, about)
        with told():
            at = _ask_when(about)
            answers = _answers(workspace, usecase, about, pickup, at) if about else None
        _say(zones, answers, pickup)
    with left:
        drawn, strips = _flat(source, shapes, bridges)
        st.altair_chart(
            zone_chart(zones, drawn, strips, answers, pickup),
            width="stretch",
            height=HEIGHT,
            key="zones",
            on_select=_clicked,
        )


def _describe(workspace: Workspace, usecase: str) -> dict[str, Any] | None:
    """What the server says about the use case; None, and a message on the page, where nothing answers."""
    about = None
    with told(), Client.from_workspace(workspace, reading.TIMEOUT_S) as client:
        about = client.describe(usecase)
    return about


def _ask_where(zones: pd.DataFrame, about: dict[str, Any] | None) -> int:
    names = zones.set_index("zone")
    choices = _known(about) or names.index[names["lat"].notna()].tolist()
    if st.session_state.get("pickup") not in choices:
        st.session_state["pickup"] = _middle(names.loc[names.index.isin(choices)])
    return st.selectbox(
        "Pickup zone",
        choices,
        format_func=lambda zone: f"{names.zone_name.get(zone, 'unknown')} ({zone})",
        key="pickup",
        help="Click a zone on the map, or choose one here.",
    )


def _ask_when(about: dict[str, Any] | None) -> datetime:
    first = _first_day(about)
    day = st.date_input("Day of pickup", value=first, format="YYYY-MM-DD", key=f"day from {first}")
    hour = st.slider("Time of pickup, city time", time(0), time(23, 30), time(8, 30), format="HH:mm", key="hour")
    return parse_time(f"{day}T{hour:%H:%M}", CITY_TIMEZONE)


def _clicked() -> None:
    """Take the clicked zone as the pickup zone."""
    picked = st.session_state["zones"]["selection"].get("clicked") or []
    if picked and picked[0].get("zone") is not None:
        st.session_state["pickup"] = int(picked[0]["zone"])


def _known(about: dict[str, Any] | None) -> list[int]:
    """The pickup zones that the live model knows."""
    fields = [] if about is None else about["request"]
    return next((field["known"] for field in fields if field["name"] == "pu_zone" and "known" in field), [])


def _middle(zones: pd.DataFrame) -> int:
    """The zone nearest to the middle of the city."""
    placed = zones.dropna(subset=["lat", "lon"])
    if placed.empty:
        return int(zones.index[0])
    away = (placed["lat"] - placed["lat"].median()) ** 2 + (0.57 * (placed["lon"] - placed["lon"].median()) ** 2)
    return int(away.idxmin())


def _first_day(about: dict[str, Any] | None) -> date:
    """The day after the training span, whose traffic the online store most likely knows; today without a model."""
    zone = ZoneInfo(CITY_TIMEZONE)
    return (
        datetime.now(zone).date()
        if about is None
        else datetime.fromisoformat(about["trained"]["until"]).astimezone(zone).date()
    )


def _answers(workspace: Workspace, usecase: str, about: dict[str, Any], pickup: int, at: datetime) -> pd.DataFrame:
    return _ask(workspace, usecase, about["model_version"], pickup, at.isoformat(), tuple(_known(about)))


@st.cache_data(max_entries=200, show_spinner=False, hash_funcs={Workspace: lambda w: str(w.root)})
def _ask(
    workspace: Workspace, usecase: str, version: int, pickup: int, at: str, zones: tuple[int, ...]
) -> pd.DataFrame:
    """ETAs from one zone to all, in one request that is not logged: zone, eta_min, low_min, high_min."""
    with Client.from_workspace(workspace, reading.TIMEOUT_S) as client:
        found = client.predict(
            usecase,
            [{"pu_zone": pickup, "do_zone": zone, "at": at} for zone in zones],
            logged=False,
        )
    return pd.DataFrame(found.answers).assign(zone=zones, version=found.model_version)


def _say(zones: pd.DataFrame, answers: pd.DataFrame | None, pickup: int) -> None:
    if answers is None:
        return
    others = answers[answers["zone"] != pickup]["eta_min"]
    names = zones.set_index("zone")["zone_name"]
    far = answers.loc[answers["eta_min"].idxmax()]
    figures = {
        f"{others.median():.0f} min": "median of all zones",
        f"{int((answers['eta_min'] <= 15).sum())} zones": "within 15 minutes",
        f"{far['eta_min']:.0f} min": f"the longest, to {names.get(int(far['zone']), 'unknown')}",
    }
    rows = "".join(f"<div><b>{figure}</b>{what}</div>" for figure, what in figures.items())
    st.html(f'<div class="figures" data-pickup="{pickup}">{rows}</div>')
    st.caption(f"Answered by version {int(answers['version'].iloc[0])}, in one request of {len(answers)} rows.")


@st.cache_data(max_entries=4, show_spinner=False)
def _flat(source: str, _shapes: dict[str, Any], _bridges: dict[str, Any]) -> Flat:
    del source  # the key of the cache
    return flat_shapes(_shapes, _bridges)
