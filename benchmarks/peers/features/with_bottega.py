"""Bottega's own offline engine, through its public function."""

import pandas as pd

from bottega.features import Entity, FeatureView, count, max, mean, min, sum
from bottega.features.offline import TrainingSet
from peers.features.job import Feature, Job

_AGGREGATIONS = {"sum": sum, "mean": mean, "min": min, "max": max}


def answer(job: Job, engine: str = "duckdb") -> None:
    """Answer the job with one view for each key."""
    views = [view_of(job, key) for key in job.keys]
    names = dict(zip(job.of("zone") + job.of("driver"), [f.name for view in views for f in view.features], strict=True))
    refs = {feature.name: f"{feature.key}s:{names[feature]}" for feature in job.features}
    labels = pd.read_parquet(job.labels)
    sources = {"events": job.events}
    TrainingSet(labels, refs).compute(views, sources, engine=engine).to_parquet(job.answer)


def view_of(job: Job, key: str) -> FeatureView:
    """The view of the features by one key, in their order."""
    return FeatureView(
        f"{key}s",
        Entity(key, (key,)),
        source="events",
        event_time="event_time",
        available_at="available_at",
        event_id="event_id" if job.copies else None,
        features=[_declared(feature) for feature in job.of(key)],
    )


def _declared(feature: Feature):
    if feature.aggregate == "count":
        return count().over(feature.window)
    return _AGGREGATIONS[feature.aggregate](feature.column, scale=feature.scale).over(feature.window)
