"""Feature views by name, with the tables they are made of: what `bottega features` works on."""

import contextlib
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidInput, NotFound
from bottega.eventlog import open_log
from bottega.features.catalogue import Statistics, statistics
from bottega.features.definition import Definition
from bottega.features.entity import key_range
from bottega.features.external import ExternalView, ask_now
from bottega.features.lineage import Edge, lineage
from bottega.features.online import OnlineStore
from bottega.features.parity import Parity, parity
from bottega.features.provenance import Provenance, provenance
from bottega.features.refs import View, resolve, views_by_name
from bottega.features.static import StaticView
from bottega.features.store import OfflineStore
from bottega.features.updater import Updated, Updater
from bottega.features.view import FeatureView
from bottega.pipeline.publish import publish
from bottega.pipeline.replay import feed
from bottega.pipeline.sources import gather
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.times import from_epoch_us, parse_duration_s, to_epoch_us
from bottega.usecase import UseCase
from bottega.workspace import Workspace


def find_view(usecase: UseCase, name: str) -> View:
    """The view of that name; NotFound says which there are."""
    known = views_by_name(usecase.views)
    if name not in known:
        raise NotFound(f"{usecase.name} has no view {name!r}.", next_step=f"It has: {', '.join(known)}.")
    return known[name]


def find_windowed(usecase: UseCase, name: str) -> FeatureView:
    """The windowed view of that name; InvalidInput where it is of another kind."""
    found = find_view(usecase, name)
    if isinstance(found, ExternalView):
        raise InvalidInput(
            f"{name} has no windows: no event or tile stands behind its values, its service is asked for them.",
            next_step=f"Ask it: 'bottega features lookup {name} KEY --at TIME'.",
        )
    if isinstance(found, StaticView):
        raise _is_static(found)
    return found


def _is_static(view: StaticView) -> InvalidInput:
    return InvalidInput(
        f"{view.name} has no windows: its values, from the table {view.source!r}, are the same at every moment.",
        next_step=f"See them with 'bottega features stats {view.name}'.",
    )


def entity_keys(view: View, texts: Sequence[str]) -> tuple[int | str, ...]:
    """An entity's keys from text, in the type that the entity declares; InvalidInput where they are not of it."""
    entity = view.entity
    if len(texts) != len(entity.keys):
        raise InvalidInput(
            f"{view.name} was given {len(texts)} keys.", next_step=f"Its keys are {', '.join(entity.keys) or 'none'}."
        )
    if entity.dtype == "string":
        return tuple(texts)
    least, greatest = key_range(entity.dtype)
    for text in texts:
        if not re.fullmatch(r"-?[0-9]{1,20}", text):
            raise InvalidInput(
                f"The key {text!r} is no whole number.", next_step=f"{entity.name} has {entity.dtype} keys."
            )
        if not least <= int(text) <= greatest:
            raise InvalidInput(
                f"The key {text} is out of the range of {entity.name}'s {entity.dtype} keys.",
                next_step=f"They lie between {least} and {greatest}.",
            )
    return tuple(int(text) for text in texts)


def view_statistics(
    usecase: UseCase,
    view: View,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    progress: Progress = silent,
) -> dict[str, Statistics]:
    """Statistics of a view's features over the events of [since, until)."""
    return statistics(view, gather(usecase, workspace, settings, since, until, progress=progress).sources)


def model_lineage(usecase: UseCase) -> tuple[Edge, ...]:
    """The lineage of everything that the use case's models take."""
    recipe = usecase.recipe
    inputs = dict.fromkeys(name for spec in recipe.models for name in spec.inputs)
    return lineage(usecase.views, recipe.references, recipe.functions, inputs)


def materialize_views(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    log: str | None = None,
    progress: Progress = silent,
) -> int:
    """Put the events of [since, until) into the online store; returns how many count.

    With the address of a `log`, the stream goes on from there where the span ends. Conflict without it, where a stream
    may still bring events of the span, which would count twice.
    """
    store = OnlineStore(workspace.online)
    if log is None:
        for view in windowed(usecase):
            _check_passed(view, store, until)
    gathered = gather(usecase, workspace, settings, since, until, progress=progress)
    with contextlib.ExitStack() as stack:
        opened = None if log is None else stack.enter_context(open_log(log))
        tiles = OfflineStore(workspace.offline)
        return feed(usecase, gathered.sources, store, since, until, opened, tiles, progress)


def _check_passed(view: FeatureView, store: OnlineStore, until: datetime) -> None:
    """Raise Conflict where the view's stream has not yet passed a moment and the lateness after it."""
    stream = store.stream(view.name)
    if not stream.offsets or stream.newest_us is None:
        return
    passed = from_epoch_us(stream.newest_us - parse_duration_s(view.lateness) * 1_000_000)
    if passed < until:
        raise Conflict(
            f"A stream feeds {view.name}, which has all events until {passed:%Y-%m-%d %H:%M} UTC; the span ends later.",
            next_step="Name its event log with --log, so that the stream goes on where the span ends.",
        )


def publish_events(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    log: str | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Append the dataset's events that became known in [since, until) to the event log; returns the topics' ends."""
    sources = gather(usecase, workspace, settings, since, until, progress=progress).sources
    with open_log(log or workspace.events) as opened:
        return publish(windowed(usecase), sources, opened, since, until, progress)


def update_views(
    usecase: UseCase,
    workspace: Workspace,
    log: str | None = None,
    until_end: bool = False,
    progress: Progress = silent,
) -> tuple[Updated, ...]:
    """Keep the online store in step with the log until it is told to stop (Ctrl-C, SIGTERM), or to the log's end."""
    with open_log(log or workspace.events) as opened, interrupted() as stopped:
        updater = Updater(windowed(usecase), opened, OnlineStore(workspace.online), workspace.quarantine)
        ends = {topic: opened.end(topic) for topic in updater.topics} if until_end else None
        return updater.run(ends, stopped, progress)


@contextlib.contextmanager
def interrupted() -> Iterator[Callable[[], bool]]:
    """Whether somebody asked to stop, by Ctrl-C or SIGTERM: a batch under way is finished first."""
    asked = threading.Event()
    before = {name: signal.signal(name, lambda *_: asked.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def windowed(usecase: UseCase) -> list[FeatureView]:
    """The use case's windowed views."""
    return [view for view in usecase.views if isinstance(view, FeatureView)]


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
        total = total.plus(parity(view, gathered.sources, labels, keys=keys, progress=progress))
    return total


def _key_sets(usecase: UseCase) -> list[tuple[FeatureView, tuple[str, ...]]]:
    """Each windowed view with each set of label columns that the use case reads it by."""
    found = resolve(usecase.recipe.references, usecase.views)
    return list(dict.fromkeys((r.view, r.keys) for r in found if isinstance(r.view, FeatureView)))


def not_compared(usecase: UseCase) -> tuple[str, ...]:
    """The views that the use case reads and `check_parity` leaves out: services, which both sides ask."""
    found = resolve(usecase.recipe.references, usecase.views)
    return tuple(dict.fromkeys(r.view.name for r in found if isinstance(r.view, ExternalView)))


def find_held(store: OnlineStore, name: str) -> Definition:
    """The definition of a view that the store holds, declared or not; NotFound says which there are."""
    held = {definition.view: definition for definition in store.definitions()}
    if name not in held:
        raise NotFound(
            f"The online store holds no view {name!r}.", next_step=f"It holds: {', '.join(held) or 'nothing'}."
        )
    return held[name]


class EntityValues(msgspec.Struct, frozen=True):
    """One entity's online values at a moment (None: null), and how old the newest event behind them is, in seconds.

    There is no age where a service was asked.
    """

    values: dict[str, float | None]
    age_s: float | None


def read_now(
    workspace: Workspace, settings: Settings, view: View, keys: tuple[int | str, ...], at_us: int
) -> EntityValues:
    """A view's values for one entity at a moment, from the online store, or from the service of an external view.

    Raises Unavailable where the service does not answer, InvalidInput for a static view.
    """
    if isinstance(view, ExternalView):
        said = ask_now(view, keys, at_us, settings.endpoints)
        return EntityValues({name: _known(value) for name, value in said.items()}, None)
    if isinstance(view, StaticView):
        raise _is_static(view)
    columns = tuple(np.array([key], object if isinstance(key, str) else np.int64) for key in keys)
    found = OnlineStore(workspace.online).read(view.name, columns, np.array([at_us]))
    return EntityValues(
        {feature.name: _known(found[feature.name][0]) for feature in view.features}, _known(found.age_s[0])
    )


def explain_value(
    usecase: UseCase,
    view: FeatureView,
    feature: str,
    workspace: Workspace,
    settings: Settings,
    keys: tuple[int | str, ...],
    at: datetime,
    progress: Progress = silent,
) -> tuple[Provenance, float | None]:
    """Everything behind one value, from the dataset's events, and what the online store says at the same moment."""
    at_us = to_epoch_us(at)
    since = at - timedelta(seconds=view.feature(feature).window_s + parse_duration_s(view.tile))
    sources = gather(usecase, workspace, settings, since, at + timedelta(microseconds=1), progress=progress).sources
    found = provenance(view, feature, sources, keys, at_us)
    return found, read_now(workspace, settings, view, keys, at_us).values[feature]


class StoreState(msgspec.Struct, frozen=True):
    """What the online store holds of a view: up to which moment it has seen events (ISO 8601, UTC), and refusals."""

    view: str
    seen_until: str | None
    freshness: str | None
    refused: dict[str, int]

    def text(self) -> str:
        """The state in a sentence or two."""
        if self.seen_until is None:
            return f"The online store holds nothing of {self.view}."
        refused = ", ".join(f"{n:,} {reason}" for reason, n in self.refused.items()) or "none"
        promise = f"; the owner promises at most {self.freshness} behind the clock" if self.freshness else ""
        return f"The online store has seen events that were known until {self.seen_until}{promise}. Refused: {refused}."


def store_state(workspace: Workspace, view: View) -> StoreState:
    """How far the online store has come with a view."""
    store = OnlineStore(workspace.online)
    if not isinstance(view, FeatureView):
        return StoreState(view.name, None, None, {})
    seen_us = store.progress_us(view.name)
    seen = None if seen_us is None else from_epoch_us(seen_us).isoformat()
    return StoreState(view.name, seen, view.freshness, store.refused(view.name))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
