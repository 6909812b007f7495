"""Feature views by name, with the tables they are made of: what `bottega features` works on."""

from datetime import datetime

import numpy as np

from bottega.errors import NotFound
from bottega.features.catalogue import Statistics, statistics
from bottega.features.online import OnlineStore
from bottega.features.parity import Parity, parity
from bottega.features.refs import View, resolve, views_by_name
from bottega.features.view import FeatureView
from bottega.pipeline.replay import feed
from bottega.pipeline.sources import gather
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace


def find_view(usecase: UseCase, name: str) -> View:
    """The view of that name; NotFound says which there are."""
    known = views_by_name(usecase.views)
    if name not in known:
        raise NotFound(f"{usecase.name} has no view {name!r}.", next_step=f"It has: {', '.join(known)}.")
    return known[name]


def view_statistics(
    usecase: UseCase, view: View, workspace: Workspace, settings: Settings, since: datetime, until: datetime
) -> dict[str, Statistics]:
    """Statistics of a view's features over the events of [since, until)."""
    return statistics(view, gather(usecase, workspace, settings, since, until).sources)


def materialize_views(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    progress: Progress = silent,
) -> int:
    """Put the events of [since, until) into the online store; returns how many count."""
    gathered = gather(usecase, workspace, settings, since, until, progress=progress)
    progress("materialise", 0, 1)
    events = feed(usecase, gathered.sources, OnlineStore(workspace.online), since, until)
    progress("materialise", 1, 1)
    return events


def check_parity(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    progress: Progress = silent,
) -> Parity:
    """Compare offline and online answers for every request of [since, until), value by value, in a store of its own."""
    gathered = gather(usecase, workspace, settings, since, until, progress=progress)
    labels = usecase.recipe.labels(gathered.sources)
    labels = labels[(labels["requested_at"] >= since) & (labels["requested_at"] < until)]
    total = Parity(0, 0)
    for done, (view, keys) in enumerate(asked := _key_sets(usecase)):
        progress("compare", done, len(asked))
        found = parity(view, gathered.sources, labels, keys=keys)
        total = Parity(
            total.values + found.values,
            total.mismatches + found.mismatches,
            total.first_mismatch or found.first_mismatch,
        )
    return total


def _key_sets(usecase: UseCase) -> list[tuple[FeatureView, tuple[str, ...]]]:
    """Each windowed view with each set of label columns that the use case reads it by."""
    found = resolve(usecase.recipe.references, usecase.views)
    return list(dict.fromkeys((r.view, r.keys) for r in found if isinstance(r.view, FeatureView)))


def read_now(workspace: Workspace, view: FeatureView, keys: list[int], at_us: int) -> dict[str, float]:
    """A view's online values for one entity at a moment."""
    columns = tuple(np.array([key]) for key in keys)
    found = OnlineStore(workspace.online).read(view.name, columns, np.array([at_us]))
    return {feature.name: float(found[feature.name][0]) for feature in view.features}
