"""The features: what is declared, why a value is what it is, and the proof that training and serving agree."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from bottega.datasets.origin import resolve
from bottega.datasets.trips import available_span
from bottega.features.catalogue import catalogue
from bottega.features.parity import Parity
from bottega.features.provenance import COUNTED, Provenance
from bottega.features.view import FeatureView
from bottega.pipeline.skew import SkewReport, served_skew
from bottega.pipeline.views import check_parity, explain_value, store_state
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.usecase import UseCase
from bottega.workspace import Workspace
from studio.feature_chart import provenance_chart
from studio.messages import told

_CACHED = {Workspace: lambda workspace: str(workspace.root), Settings: repr}


def show_features(settings: Settings, workspace: Workspace, usecase: str) -> None:
    """Draw the panel."""
    from usecases import find  # a use case's declaration imports the model's library, so only here

    declared = find(usecase)
    views = [view for view in declared.views if isinstance(view, FeatureView)]
    left, right = st.columns([3, 1], gap="large")
    with right:
        view, feature, keys, at = _ask(settings, workspace, views)
        st.caption(store_state(workspace, view).text())
    with left, told():
        found, online = _explain(settings, workspace, usecase, view.name, feature, keys, at)
        _say(found, online, view.feature(feature).unit)
        st.altair_chart(provenance_chart(found, view.feature(feature).unit), width="stretch", key="provenance")
    _proofs(settings, workspace, declared, at)
    with st.expander("All features"):
        st.dataframe(_entries(declared), hide_index=True, width="stretch")


def _ask(
    settings: Settings, workspace: Workspace, views: list[FeatureView]
) -> tuple[FeatureView, str, tuple[int | str, ...], datetime]:
    names = {f"{view.name}:{feature.name}": (view, feature.name) for view in views for feature in view.features}
    view, feature = names[st.selectbox("Feature", list(names), key="feature")]
    keys: list[int | str] = []
    for key in view.entity.keys:
        if view.entity.dtype == "string":
            keys.append(st.text_input(key, key=f"key {key}"))
        else:
            keys.append(int(st.number_input(key, value=74, step=1, key=f"key {key}")))
    newest = _newest(settings, workspace, view)
    day = st.date_input("Day", value=newest.date(), format="YYYY-MM-DD", key=f"feature day from {newest.date()}")
    clock = st.slider("Time, city time", time(0), time(23, 55), time(8, 30), timedelta(minutes=5), format="HH:mm")
    return view, feature, tuple(keys), parse_time(f"{day}T{clock:%H:%M}", CITY_TIMEZONE)


def _newest(settings: Settings, workspace: Workspace, view: FeatureView) -> datetime:
    """The last whole day that the online store has seen, else one of the dataset's first week; city time."""
    seen = store_state(workspace, view).seen_until
    if seen is None:
        first, _ = available_span(resolve("tlc_green_trips", workspace, settings), workspace, settings)
        return first.astimezone(ZoneInfo(CITY_TIMEZONE)) + timedelta(days=6)
    return datetime.fromisoformat(seen).astimezone(ZoneInfo(CITY_TIMEZONE)) - timedelta(days=1)


@st.cache_data(max_entries=64, show_spinner="Reading the events", hash_funcs=_CACHED)
def _explain(
    settings: Settings,
    workspace: Workspace,
    usecase: str,
    view: str,
    feature: str,
    keys: tuple[int | str, ...],
    at: datetime,
) -> tuple[Provenance, float | None]:
    from usecases import find

    declared = find(usecase)
    chosen = next(one for one in declared.views if one.name == view)
    assert isinstance(chosen, FeatureView)
    return explain_value(declared, chosen, feature, workspace, settings, keys, at)


def _say(found: Provenance, online: float | None, unit: str) -> None:
    counted = sum(share.outcome == COUNTED for share in found.events)
    figures = {
        _value(found.value, unit): "from the events, as training sees it",
        f"{_value(online, unit)} ": "from the online store, as the server sees it",
        f"{counted} of {len(found.events)}": f"events count, in {len(found.tiles)} tiles",
    }
    rows = "".join(f"<div><b>{figure}</b>{what}</div>" for figure, what in figures.items())
    st.html(f'<div class="figures" data-feature="{found.reference}">{rows}</div>')


def _value(value: float | None, unit: str) -> str:
    return "null" if value is None else f"{value:.4g} {unit}".rstrip()


def _proofs(settings: Settings, workspace: Workspace, usecase: UseCase, at: datetime) -> None:
    """Parity of a day, and skew of what was served, each on demand: they take seconds."""
    midnight = at.astimezone(ZoneInfo(CITY_TIMEZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    left, right = st.columns(2, gap="large")
    with left:
        if st.button(
            "Replay this day and compare", key="parity", help="Log, updater and online reads against training"
        ):
            with told():
                bar = st.progress(0.0, "Replaying")

                def show(task: str, done: int, total: int) -> None:
                    bar.progress(min(1.0, done / total) if total else 0.0, task.capitalize())

                day = (midnight, midnight + timedelta(days=1))
                st.session_state["parity of"] = (midnight, check_parity(usecase, workspace, settings, *day, show))
                bar.empty()
        if "parity of" in st.session_state:
            _say_parity(*st.session_state["parity of"])
    with right:
        if st.button("Compare served features", key="skew", help="Logged features against the training set's"):
            with told(), st.spinner("Joining the logged requests"):
                st.session_state["skew of"] = served_skew(usecase, workspace, settings)
        if "skew of" in st.session_state:
            _say_skew(st.session_state["skew of"])


def _say_parity(day: datetime, found: Parity) -> None:
    text = f"{day:%Y-%m-%d}: {found.values:,} values compared, {found.mismatches:,} differ."
    if found.mismatches:
        st.error(f"{text} The first: {found.first_mismatch}", icon=":material/error:")
    else:
        st.success(text, icon=":material/check:")


def _say_skew(found: SkewReport) -> None:
    rows = [
        {
            "feature": one.feature,
            "served": one.values,
            "differ": one.mismatches,
            "mean served": one.served.mean,
            "mean trained": one.trained.mean,
            "distance": one.distance,
        }
        for one in found.features
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    st.caption(
        "A value that differs from the training set's for the same request is a defect. The distance "
        "(Kolmogorov-Smirnov, 0 to 1) says how far the served values lie from those of training: that is drift."
    )


def _entries(usecase: UseCase) -> pd.DataFrame:
    rows = [
        {
            "feature": feature.reference,
            "kind": view.kind,
            "unit": feature.unit,
            "window": feature.window,
            "missing": feature.missing,
            "made of": feature.lineage,
        }
        for view in catalogue(usecase.views, usecase.recipe.functions)
        for feature in view.features
    ]
    return pd.DataFrame(rows)
