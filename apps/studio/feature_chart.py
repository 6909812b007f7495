"""The events behind one feature value: when each happened, what it said, and what became of it."""

import altair as alt
import pandas as pd

from bottega.features.provenance import COUNTED, Provenance
from bottega.times import CITY_TIMEZONE
from studio.look import ACCENT, ALARM, EMPTY, INK, MUTED, finish

TIME_AXIS = alt.Axis(format="%H:%M", labelOverlap=True, tickCount=10)


def event_table(found: Provenance) -> pd.DataFrame:
    """One row an event: source, happened and known (city time), value (0 where the feature has no column), outcome."""
    rows = [
        (share.source, share.event_time, share.available_at or None, share.value or 0.0, share.outcome)
        for share in found.events
    ]
    table = pd.DataFrame(rows, columns=["source", "happened", "known", "value", "outcome"])
    return table.assign(happened=_local(table["happened"]), known=_local(table["known"]))


def provenance_chart(found: Provenance, unit: str) -> alt.LayerChart:
    """Events of the window and after it, the window's edges, and the value itself."""
    events = event_table(found)
    outcomes = [COUNTED, *sorted(set(events["outcome"]) - {COUNTED})]
    colours = [ACCENT, *[ALARM if "watermark" in name or "future" in name else EMPTY for name in outcomes[1:]]]
    points = (
        alt.Chart(events)
        .mark_point(filled=True, size=46, opacity=0.85)
        .encode(
            x=alt.X("happened:T", title="When it happened, city time", axis=TIME_AXIS),
            y=alt.Y("value:Q", title=f"Value of the event{f', {unit}' if unit else ''}"),
            color=alt.Color(
                "outcome:N",
                title=None,
                scale=alt.Scale(domain=outcomes, range=colours),
                legend=alt.Legend(orient="top", offset=2),
            ),
            shape=alt.Shape("source:N", legend=None),
            tooltip=[
                alt.Tooltip("happened:T", title="Happened", format="%H:%M:%S"),
                alt.Tooltip("known:T", title="Known", format="%H:%M:%S"),
                alt.Tooltip("value:Q", title="Value", format=".2f"),
                alt.Tooltip("outcome:N", title="Outcome"),
            ],
        )
    )
    edges = pd.DataFrame(
        {"at": [found.since, found.until, found.at], "what": ["window begins", "last closed tile ends", "the request"]}
    )
    edges = edges.assign(at=_local(edges["at"]))
    rules = alt.Chart(edges).mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x="at:T", tooltip="what:N")
    layers = [points, rules]
    if found.value is not None and any(share.value is not None for share in found.events):
        value = pd.DataFrame({"value": [found.value]})
        layers.append(alt.Chart(value).mark_rule(color=INK, strokeWidth=1.5).encode(y="value:Q"))
    return finish(alt.layer(*layers).properties(height=260, title=f"Events behind {found.reference}"))


def _local(times: pd.Series) -> pd.Series:
    """ISO times in UTC as the city's wall clock, which charts show as it is."""
    return pd.to_datetime(times, utc=True, format="ISO8601").dt.tz_convert(CITY_TIMEZONE).dt.tz_localize(None)
