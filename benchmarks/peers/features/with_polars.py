"""Polars: rolling aggregations over an integer tile, entity by entity, in its lazy engine."""

import polars as pl

from peers.features.job import (
    RECENT,
    SCALES,
    TILE_US,
    Feature,
    Job,
    long_windows,
    part_names,
    part_states,
    state_name,
    states,
)


def answer(job: Job) -> None:
    """Answer the job key by key."""
    at_us = pl.col("requested_at").dt.epoch("us")
    labels = pl.read_parquet(job.labels).select("label", *job.keys, at_us=at_us, tile=at_us // TILE_US)
    columns = [labels.select("label")]
    for key in job.keys:
        found = _totals(_events(job, key), labels, key, job.of(key))
        columns.append(found.select(_value(feature, len(labels)).alias(feature.name) for feature in job.of(key)))
    pl.concat(columns, how="horizontal").write_parquet(job.answer)


def _events(job: Job, key: str) -> pl.LazyFrame:
    events = pl.scan_parquet(job.events)
    if job.copies:
        first = pl.all().exclude("event_id", "available_at").first()
        events = events.group_by("event_id").agg(first, pl.col("available_at").min())
    available_us = pl.col("available_at").dt.epoch("us")
    tile = pl.col("event_time").dt.epoch("us") // TILE_US
    fixed = [(pl.col(name) * SCALES[name]).round().cast(pl.Int64) for name in job.columns]
    return events.select(key, *fixed, available_us=available_us, tile=tile, late=available_us // TILE_US > tile)


def _totals(events: pl.LazyFrame, labels: pl.DataFrame, key: str, features: tuple[Feature, ...]) -> pl.DataFrame:
    """The states of each label's windows, in the labels' order."""
    states_all = [_aggregate(*state).alias(f"all_{state_name(*state)}") for state in states(long_windows(features))]
    states_on = [_aggregate(*state, ~pl.col("late")).alias(f"on_{state_name(*state)}") for state in states(features)]
    tiles = events.group_by(key, "tile").agg(*states_all, *states_on).collect(engine="streaming")
    found = labels
    for part, prefix, shift in (("settled", "all", RECENT), ("recent", "on", 0)):
        frames = {name: _rolling(prefix, *rest) for name, rest in part_states(part, features).items()}
        if frames:
            spine = labels.select(key, pl.col("tile") - shift).unique()
            found = found.join(_windows(tiles, spine, key, frames, shift), [key, "tile"], "left", maintain_order="left")
    return found.join(_late(events, labels, key, features), "label", "left", maintain_order="left")


def _windows(
    tiles: pl.DataFrame, spine: pl.DataFrame, key: str, frames: dict[str, pl.Expr], shift: int
) -> pl.DataFrame:
    """The windows that end before each spine row, moved on by `shift` tiles."""
    united = pl.concat([tiles.with_columns(wanted=False), spine.with_columns(wanted=True)], how="diagonal")
    rolled = (
        united.lazy().sort(key, "tile").select(key, "tile", "wanted", **{n: f.over(key) for n, f in frames.items()})
    )
    return rolled.filter("wanted").drop("wanted").with_columns(pl.col("tile") + shift).collect()


def _rolling(prefix: str, state: tuple[str, str], length: int) -> pl.Expr:
    column = pl.col(f"{prefix}_{state_name(*state)}")
    roll = {"min": column.rolling_min_by, "max": column.rolling_max_by}.get(state[0], column.rolling_sum_by)
    return roll("tile", f"{length}i", closed="left")


def _late(events: pl.LazyFrame, labels: pl.DataFrame, key: str, features: tuple[Feature, ...]) -> pl.DataFrame:
    steps = pl.LazyFrame({"step": range(1, RECENT + 1)}, {"step": pl.Int64})
    late = events.filter("late").join(steps, how="cross").with_columns(tile=pl.col("tile") + pl.col("step"))
    pairs = labels.lazy().join(late, [key, "tile"]).filter(pl.col("available_us") <= pl.col("at_us"))
    found = {
        name: _aggregate(*state, pl.col("step") <= tiles)
        for name, (state, tiles) in part_states("late", features).items()
    }
    return pairs.group_by("label").agg(**found).collect()


def _value(feature: Feature, rows: int) -> pl.Expr:
    n, main = _total(feature, "n", ""), _total(feature, *feature.state)
    if feature.aggregate == "mean":
        return pl.when(n > 0).then(main / (n * feature.scale))
    # Divided by a column: by a constant, Polars multiplies with 1 / scale, which is not the same number.
    return main / pl.Series([feature.scale]).new_from_index(0, rows)


def _total(feature: Feature, kind: str, column: str) -> pl.Expr:
    """A state of the whole window from its two or three parts."""
    found = list(part_names(feature, kind, column).values())
    if kind in ("n", "sum"):
        return pl.sum_horizontal(found)
    return pl.min_horizontal(found) if kind == "min" else pl.max_horizontal(found)


def _aggregate(kind: str, column: str, condition: pl.Expr | None = None) -> pl.Expr:
    if kind == "n":
        return (pl.len() if condition is None else condition.sum()).cast(pl.Int64)
    values = pl.col(column) if condition is None else pl.col(column).filter(condition)
    return {"sum": values.sum, "min": values.min, "max": values.max}[kind]()
