"""Bottega's own offline engine, through its public door."""

import pandas as pd

from bottega.features import Entity, FeatureView, count, max, mean, min, sum
from bottega.features.offline import training_set
from peers.features.job import Job

_AGGREGATIONS = {"sum": sum, "mean": mean, "min": min, "max": max}


def answer(job: Job, engine: str = "duckdb") -> None:
    """Answer the job with one view for each key."""
    views = [_view(job, key) for key in job.keys]
    refs = {feature.name: f"{feature.key}s:{_name(feature)}" for feature in job.features}
    labels = pd.read_parquet(job.labels)
    sources = {"events": pd.read_parquet(job.events)}
    training_set(labels, refs, views, sources).to_parquet(job.answer)


def _name(feature):
    return "_".join(p for p in (feature.column, feature.aggregate, feature.window) if p)


def _view(job: Job, key: str) -> FeatureView:
    features = []
    for feature in job.of(key):
        if feature.aggregate == "count":
            aggregation = count()
        else:
            aggregation = _AGGREGATIONS[feature.aggregate](feature.column, scale=feature.scale)
        features.append(aggregation.over(feature.window))
    return FeatureView(
        f"{key}s",
        Entity(key, (key,)),
        source="events",
        event_time="event_time",
        available_at="available_at",
        event_id="event_id" if job.copies else None,
        features=features,
    )
