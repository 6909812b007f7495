"""pandas: rolling windows over time within each entity, in memory."""

import numpy as np
import pandas as pd

from peers.features.job import (
    RECENT,
    SCALES,
    TILE_US,
    Feature,
    Job,
    long_windows,
    part_name,
    part_names,
    part_states,
    part_tiles,
    state_name,
    states,
)

_COMBINE = {"n": "sum", "sum": "sum", "min": "min", "max": "max"}


def answer(job: Job) -> None:
    """Answer the job key by key."""
    labels = pd.read_parquet(job.labels)
    labels["at_us"] = _epoch_us(labels.pop("requested_at"))
    labels["tile"] = labels["at_us"] // TILE_US
    events = _events(job)
    found = {"label": labels["label"]}
    for key in job.keys:
        totals = _totals(events, labels, key, job.of(key))
        found |= {feature.name: _value(totals, feature) for feature in job.of(key)}
    pd.DataFrame({name: found[name] for name in ("label", *(f.name for f in job.features))}).to_parquet(job.answer)


def _epoch_us(times: pd.Series) -> pd.Series:
    return times.dt.tz_localize(None).astype("datetime64[us]").astype(np.int64)


def _events(job: Job) -> pd.DataFrame:
    ids = ["event_id"] if job.copies else []
    read = pd.read_parquet(job.events, columns=[*ids, *job.keys, "event_time", "available_at", *job.columns])
    if job.copies:
        read = read.sort_values("available_at").drop_duplicates("event_id")
    events = read[list(job.keys)].copy()
    for name in job.columns:
        events[name] = np.rint(read[name] * float(SCALES[name])).astype(np.int64)
    events["n"] = 1
    events["tile"] = _epoch_us(read["event_time"]) // TILE_US
    events["available_us"] = _epoch_us(read["available_at"])
    events["late"] = events["available_us"] // TILE_US > events["tile"]
    return events


def _totals(events: pd.DataFrame, labels: pd.DataFrame, key: str, features: tuple[Feature, ...]) -> pd.DataFrame:
    """The states of each label's windows, in the labels' order."""
    found = []
    for part, rows, members in (
        ("settled", events, long_windows(features)),
        ("recent", events[~events["late"]], features),
    ):
        if frames := part_states(part, features):
            shift = RECENT if part == "settled" else 0
            tiles = rows.groupby([key, "tile"], as_index=False).agg(**_aggregates(states(members)))
            found.append(_windows(tiles, labels[[key, "tile"]], key, frames, shift))
    found.append(_late(events, labels, key, features))
    return pd.concat(found, axis="columns")


def _aggregates(of: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, str]]:
    return {state_name(kind, column): (column or "n", _COMBINE[kind]) for kind, column in of}


def _windows(
    tiles: pd.DataFrame, wanted: pd.DataFrame, key: str, frames: dict[str, tuple[tuple[str, str], int]], shift: int
) -> pd.DataFrame:
    """The windows that end `shift` tiles before each wanted row."""
    spine = wanted.assign(tile=wanted["tile"] - shift).drop_duplicates()
    united = pd.concat([tiles, spine.assign(wanted=True)]).sort_values([key, "tile"], kind="stable", ignore_index=True)
    united["moment"] = pd.to_datetime(united["tile"] * TILE_US, unit="us")
    kept = united["wanted"].notna().to_numpy()
    found = {key: united[key][kept], "tile": united["tile"][kept] + shift}
    groups = united.groupby(key)
    for name, (state, tiles_back) in frames.items():
        rolling = groups.rolling(pd.Timedelta(tiles_back * TILE_US, "us"), min_periods=1, on="moment", closed="left")
        found[name] = getattr(rolling[state_name(*state)], _COMBINE[state[0]])().to_numpy()[kept]
    return wanted.merge(pd.DataFrame(found), "left", on=[key, "tile"]).drop(columns=[key, "tile"])


def _late(events: pd.DataFrame, labels: pd.DataFrame, key: str, features: tuple[Feature, ...]) -> pd.DataFrame:
    late = events[events["late"]].merge(pd.DataFrame({"step": range(1, RECENT + 1)}), "cross")
    late["tile"] += late["step"]
    pairs = labels[["label", key, "tile", "at_us"]].merge(late, on=[key, "tile"])
    pairs = pairs[pairs["available_us"] <= pairs["at_us"]]
    found = []
    for tiles in sorted({part_tiles("late", feature) for feature in features}):
        members = tuple(feature for feature in features if part_tiles("late", feature) == tiles)
        inside = pairs[pairs["step"] <= tiles].groupby("label").agg(**_aggregates(states(members)))
        named = {state_name(*state): part_name("late", members[0], *state) for state in states(members)}
        found.append(inside.reindex(labels["label"]).rename(columns=named))
    return pd.concat(found, axis="columns").reset_index(drop=True)


def _value(totals: pd.DataFrame, feature: Feature) -> pd.Series:
    n, main = _total(totals, feature, "n", ""), _total(totals, feature, *feature.state)
    return main / (n.where(n > 0) * feature.scale if feature.aggregate == "mean" else feature.scale)


def _total(totals: pd.DataFrame, feature: Feature, kind: str, column: str) -> pd.Series:
    """A state of the whole window from its two or three parts."""
    found = totals[list(part_names(feature, kind, column).values())]
    return getattr(found, _COMBINE[kind])(axis="columns")
