"""Feast, which joins finished features to labels but computes no windows: DuckDB computes them first.

Each label's values go into a file of feature rows, timed at the label's moment; Feast's offline store (its DuckDB one)
then has to find the right row for each label.
"""

import datetime
from pathlib import Path

import duckdb
import msgspec
import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from peers.features import with_duckdb
from peers.features.job import Job


def answer(job: Job) -> None:
    """Compute the values with DuckDB, then join them with Feast."""
    scratch = Path(job.scratch)
    finished = scratch / "values.parquet"
    with_duckdb.answer(msgspec.structs.replace(job, answer=str(finished)))
    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.INT32) for key in job.keys}
    views = [_view(job, entities[key], finished, scratch / f"{key}.parquet") for key in job.keys]
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(scratch / "registry.db"),
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *views])
    labels = pd.read_parquet(job.labels).rename(columns={"requested_at": "event_timestamp"})
    found = store.get_historical_features(labels, [f"{feature.key}s:{feature.name}" for feature in job.features])
    pq.write_table(found.to_arrow(), job.answer)


def _view(job: Job, entity: Entity, finished: Path, rows: Path) -> FeatureView:
    """A view whose rows are the finished values of one key."""
    names = [feature.name for feature in job.of(entity.name)]
    duckdb.sql(
        f"COPY (SELECT DISTINCT {entity.name}, requested_at, {', '.join(names)} "
        f"FROM '{finished}' JOIN '{job.labels}' USING (label)) TO '{rows}'"
    )
    return FeatureView(
        name=f"{entity.name}s",
        entities=[entity],
        ttl=datetime.timedelta(days=7),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(rows), timestamp_field="requested_at"),
    )
