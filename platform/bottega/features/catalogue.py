"""The catalogue: what each view and function offers, from which columns, and how its values are spread."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.features.external import ExternalView
from bottega.features.offline import TrainingSet
from bottega.features.on_request import OnRequest
from bottega.features.refs import View, views_by_name
from bottega.features.source import Source
from bottega.features.static import StaticView
from bottega.features.view import FeatureView
from bottega.features.windows import Feature

if TYPE_CHECKING:
    import pandas as pd


class FeatureEntry(msgspec.Struct, frozen=True):
    """A feature: how it is referred to, its unit, from what it is computed, and what it is where nothing is known."""

    reference: str
    unit: str
    window: str
    lineage: str
    description: str = ""
    missing: str = "null"


class ViewEntry(msgspec.Struct, frozen=True):
    """A view or an on-request function.

    Of a windowed view: its tile, how late an event may become known, after how long without events values expire, and
    how far behind the clock its owner promises the online store to be at most.
    """

    name: str
    kind: str
    entity: str
    keys: tuple[str, ...]
    source: str
    owner: str
    description: str
    features: tuple[FeatureEntry, ...]
    tile: str = ""
    lateness: str = ""
    ttl: str = ""
    freshness: str = ""


class Statistics(msgspec.Struct, frozen=True):
    """How a feature's values are spread; the figures are None where every value is null."""

    rows: int
    null_share: float
    mean: float | None = None
    least: float | None = None
    median: float | None = None
    greatest: float | None = None


def catalogue(views: Iterable[View], functions: Iterable[OnRequest] = ()) -> tuple[ViewEntry, ...]:
    """Entries for views and on-request functions, by name."""
    entries = [*map(describe, views_by_name(views).values()), *map(describe, functions)]
    return tuple(sorted(entries, key=lambda entry: entry.name))


def describe(declared: View | OnRequest) -> ViewEntry:
    """The entry of one view or on-request function."""
    if isinstance(declared, OnRequest):
        lineage = f"{declared.name}({', '.join(declared.inputs)}), computed at request time"
        outputs = tuple(FeatureEntry(name, declared.unit, "", lineage) for name in declared.outputs)
        return ViewEntry(declared.name, "on request", "", declared.inputs, "", "", declared.description, outputs)
    if isinstance(declared, StaticView | ExternalView):
        origin = declared.source if isinstance(declared, StaticView) else declared.endpoint
        features = tuple(
            FeatureEntry(
                f"{declared.name}:{f.name}",
                f.unit,
                "",
                f"{origin}.{f.name}",
                f.description,
                "null" if math.isnan(f.default) else f"{f.default:g}",
            )
            for f in declared.features
        )
        return _entry(declared, "static" if isinstance(declared, StaticView) else "external", features)
    features = tuple(_windowed(declared, feature) for feature in declared.features)
    return msgspec.structs.replace(
        _entry(declared, "windowed", features),
        tile=declared.tile,
        lateness=declared.lateness,
        ttl=declared.ttl or "",
        freshness=declared.freshness or "",
    )


def _entry(declared: View, kind: str, features: tuple[FeatureEntry, ...]) -> ViewEntry:
    return ViewEntry(
        declared.name,
        kind,
        declared.entity.name,
        declared.entity.keys,
        ", ".join(declared.source_names),
        declared.owner,
        declared.description,
        features,
    )


def statistics(
    view: View, sources: Mapping[str, "pd.DataFrame"], rows: int = 10_000, seed: int = 0
) -> dict[str, Statistics]:
    """Statistics of a view's features: of a static view over its source, of a windowed one at `rows` drawn events.

    An external view has those of its recorded answers, or none.

    A windowed feature is looked up for each drawn event's own entity at that event's time.
    """
    if isinstance(view, ExternalView) and view.source is None:
        return {}
    if isinstance(view, StaticView | ExternalView):
        table = sources[view.source_names[0]]
    else:
        declared = view.sources[0]
        source = sources[declared.name]
        drawn = source.sample(min(rows, len(source)), random_state=seed)[[*declared.keys, declared.event_time]]
        suffix = f"@{','.join(declared.keys)}" if declared.keys else ""
        references = {f.name: f"{view.name}:{f.name}{suffix}" for f in view.features}
        table = TrainingSet(drawn, references, at=declared.event_time).compute([view], sources)
    return {f.name: _spread(table[f.name].to_numpy(np.float64, na_value=np.nan)) for f in view.features}


def _windowed(view: FeatureView, feature: Feature) -> FeatureEntry:
    window = feature.name.rpartition("_")[2]
    lineage = "; ".join(_lineage(view, source, feature, window) for source in view.sources)
    missing = "null" if feature.default is None else f"{feature.default:g}"
    if feature.aggregate in ("count", "sum", "distinct"):
        missing = "0"
    return FeatureEntry(f"{view.name}:{feature.name}", feature.unit, window, lineage, feature.description, missing)


def _lineage(view: FeatureView, source: Source, feature: Feature, window: str) -> str:
    column = f"{source.name}.{source.column(feature.column)}"
    what = f"{feature.aggregate} of {column}" if feature.column else f"count of {source.name}"
    only = f" where {feature.where}" if feature.where else ""
    by = f" by {', '.join(f'{source.name}.{key}' for key in source.keys)}" if source.keys else ""
    known = f", known at {source.name}.{source.available_at}" if source.available_at else ""
    known = f", known {source.delay} later" if source.delay else known
    return f"{what}{only} over {window}{by}, {view.tile} tiles of {source.name}.{source.event_time}{known}"


def _spread(values: np.ndarray) -> Statistics:
    found = values[~np.isnan(values)]
    if not len(found):
        return Statistics(len(values), 1.0 if len(values) else 0.0)
    figures = (found.mean(), found.min(), np.median(found), found.max())
    return Statistics(len(values), 1 - len(found) / len(values), *map(float, figures))
