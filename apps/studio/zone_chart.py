"""The picture of the zones, coloured by minutes."""

from typing import Any

import altair as alt
import pandas as pd

from studio.look import INK, PAPER, WATER, finish

HEIGHT = 500
_NO_ANSWER, _BRIDGE = "#dfe4e9", "#b9c3cd"
_TOOLTIP = {"name": "Zone", "borough": "Borough", "said": "ETA", "interval": "80 % interval"}


def zone_chart(
    zones: pd.DataFrame,
    shapes: dict[int, dict[str, Any]],
    bridges: list[dict[str, Any]],
    answers: pd.DataFrame | None,
    pickup: int,
) -> alt.Chart:
    """The zones, coloured by minutes where there are answers; the selection `clicked` holds the clicked zone."""
    features = _features(zones, shapes, bridges, answers, pickup)
    top = 60 if answers is None else max(10, 10 * round(answers["eta_min"].quantile(0.98) / 10 + 0.5))
    clicked = alt.selection_point(name="clicked", fields=["zone"], on="click", toggle=False, empty=False)
    colour = alt.Color(
        "eta:Q",
        condition=[
            {"test": "datum.kind === 'bridge'", "value": _BRIDGE},
            {"test": "datum.kind === 'zone'", "value": _NO_ANSWER},
        ],
        scale=alt.Scale(scheme="viridis", domain=[0, top], clamp=True, reverse=True),
        legend=None
        if answers is None
        else alt.Legend(title="ETA, minutes", orient="top-left", gradientLength=180, tickCount=4),
    )
    chart = (
        alt.Chart(alt.Data(values=features))
        .mark_geoshape(invalid=None)
        .encode(
            color=colour,
            stroke=alt.Stroke("edge:N", scale=None),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            description="label:N",
            tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in _TOOLTIP.items()],
        )
        .add_params(clicked)
        .project(type="identity", reflectY=True)
        .properties(height=HEIGHT, view=alt.ViewBackground(fill=WATER, stroke=None, cornerRadius=6))
    )
    return finish(chart)


def _features(
    zones: pd.DataFrame,
    shapes: dict[int, dict[str, Any]],
    bridges: list[dict[str, Any]],
    answers: pd.DataFrame | None,
    pickup: int,
) -> list[dict[str, Any]]:
    """One GeoJSON feature a zone with what the chart says about it; the pickup zone last, so that its edge shows."""
    names = zones.set_index("zone")[["zone_name", "borough"]].to_dict("index")
    etas = {} if answers is None else answers.set_index("zone")[["eta_min", "low_min", "high_min"]].to_dict("index")
    found = [_bridge(strip) for strip in bridges]
    for zone in sorted(shapes, key=lambda zone: (zone == pickup, zone)):
        feature: dict[str, Any] = {
            "type": "Feature",
            "geometry": shapes[zone],
            "kind": "zone",
            "zone": zone,
            "name": f"{names[zone]['zone_name']} ({zone})",
            "borough": names[zone]["borough"],
            "edge": INK if zone == pickup else PAPER,
            "width": 2.5 if zone == pickup else 0.5,
            "said": "pickup zone" if zone == pickup and not etas else "no answer",
            "interval": "",
        }
        if zone in etas:
            eta = etas[zone]
            feature |= {
                "kind": "answer",
                "eta": round(eta["eta_min"], 2),
                "said": f"{eta['eta_min']:.1f} min",
                "interval": f"{eta['low_min']:.1f} to {eta['high_min']:.1f} min",
            }
        feature["label"] = f"{feature['name']}, {feature['borough']}: {feature['said']}"
        found.append(feature)
    return found


def _bridge(strip: dict[str, Any]) -> dict[str, Any]:
    said = dict.fromkeys(("borough", "said", "interval"), "")
    return {
        "type": "Feature",
        "geometry": strip,
        "kind": "bridge",
        "name": "bridge",
        "label": "bridge",
        "edge": _BRIDGE,
        "width": 0,
        **said,
    }
