"""`bottega features`: what is declared, what the store answers, and the proof that offline and online agree."""

import sys
from collections import Counter
from typing import Annotated

import msgspec
import typer

from bottega.cli.console import (
    FromOption,
    JsonOption,
    UntilOption,
    WorkspaceOption,
    city_span,
    city_time,
    open_session,
    table,
)
from bottega.errors import InvalidInput, NotFound

app = typer.Typer(
    help="Features: declared once; joined point-in-time offline, read by key online.", no_args_is_help=True
)
LogOption = Annotated[
    str | None,
    typer.Option("--log", help="Event log: a file, or kafka://host:port. Default: the workspace's own."),
]
UseCaseOption = Annotated[str, typer.Option("--usecase", "-u", help="Use case whose views are meant.")]
ViewArgument = Annotated[str, typer.Argument(help="Name of the view, for example zone_traffic.")]
KeysArgument = Annotated[list[str], typer.Argument(help="The entity's keys, for example 74.")]
AtOption = Annotated[str, typer.Option("--at", help="Moment; without an offset it is the city's local time.")]


@app.command("list")
def list_features(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List every feature of every use case: reference, unit, window, lineage."""
    from bottega.features.catalogue import catalogue
    from usecases import discover

    session = open_session(workspace, as_json)
    found = {name: catalogue(usecase.views, usecase.recipe.functions) for name, usecase in discover().items()}
    rows = [
        (name, feature.reference, view.kind, feature.unit, feature.window)
        for name, views in found.items()
        for view in views
        for feature in view.features
    ]
    session.emit(found, table("", ("use case", "feature", "kind", "unit", "window"), rows))


@app.command()
def show(
    view: ViewArgument,
    usecase: UseCaseOption = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a view: entity, source, owner and promises, and each feature with what it is made of."""
    from bottega.features.catalogue import describe
    from bottega.pipeline.views import find_view
    from usecases import find

    session = open_session(workspace, as_json)
    described = describe(find_view(find(usecase), view))
    promises = [
        f"{name} {value}"
        for name, value in (
            ("tile", described.tile),
            ("lateness", described.lateness),
            ("time to live", described.ttl),
            ("freshness", described.freshness),
            ("owner", described.owner),
        )
        if value
    ]
    rows = [(f.reference, f.unit, f.window, f.missing, f.lineage) for f in described.features]
    session.emit(
        described,
        f"{described.name}: {described.description}\nentity {described.entity}, source {described.source}",
        *([", ".join(promises)] if promises else []),
        table("", ("feature", "unit", "window", "missing", "made of"), rows),
    )


@app.command()
def stats(
    view: ViewArgument,
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Statistics of a view's features over the events of a span, and what the online store holds of it."""
    from bottega.pipeline.views import find_view, store_state, view_statistics
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    chosen = find(usecase)
    declared = find_view(chosen, view)
    with session.progress() as progress:
        spread = view_statistics(chosen, declared, session.workspace, session.settings, start, end, progress)
    state = store_state(session.workspace, declared)
    rows = [
        (
            name,
            s.rows,
            f"{s.null_share:.1%}",
            *("" if v is None else f"{v:.4g}" for v in (s.mean, s.least, s.median, s.greatest)),
        )
        for name, s in spread.items()
    ]
    columns = ("feature", "values", "null", "mean", "least", "median", "greatest")
    session.emit({"view": view, "statistics": spread, "online": state}, table("", columns, rows), state.text())


@app.command()
def lineage(
    node: Annotated[str, typer.Argument(help="A feature (view:feature), a column (source.column), or 'model'.")],
    usecase: UseCaseOption = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a feature comes from, column by column, and what depends on it."""
    from rich.tree import Tree

    from bottega.features.lineage import Edge, downstream, upstream
    from bottega.pipeline.views import model_lineage
    from usecases import find

    session = open_session(workspace, as_json)
    edges = model_lineage(find(usecase))
    before, after = upstream(edges, node), downstream(edges, node)
    if not before and not after:
        nodes = sorted({edge.origin for edge in edges} | {edge.target for edge in edges})
        raise NotFound(f"{usecase} has no {node!r} in its lineage.", next_step=f"It has: {', '.join(nodes)}.")

    def grow(tree: Tree, ways: tuple[Edge, ...], here: str, start: str, end: str) -> None:
        for edge in ways:
            if getattr(edge, start) == here:
                grow(tree.add(f"{getattr(edge, end)}  ({edge.how})"), ways, getattr(edge, end), start, end)

    made_of, used_by = Tree(f"{node} is made of"), Tree(f"{node} is used by")
    grow(made_of, before, node, "target", "origin")
    grow(used_by, after, node, "origin", "target")
    shown = [tree for tree in (made_of, used_by) if tree.children]
    session.emit({"node": node, "upstream": before, "downstream": after}, *shown)


@app.command()
def materialize(
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    log: LogOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a span of past events into the online store, so that it answers as if it had seen them pass.

    Readers see the old snapshot or the new one. With --log, `bottega features stream` on that log goes on exactly where
    the span ends.
    """
    from bottega.pipeline.views import materialize_views
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    with session.progress() as progress:
        events = materialize_views(find(usecase), session.workspace, session.settings, start, end, log, progress)
    session.emit({"usecase": usecase, "events": events}, f"{events:,} events count in the online store's tiles.")


@app.command()
def stream(
    usecase: UseCaseOption = "eta",
    log: LogOption = None,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop at the log's present end.")] = False,
    publish_since: FromOption = None,
    publish_until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the online store in step with the event log, exactly once, until Ctrl-C.

    With --from and --until the dataset's events of that span are appended to the log first, in the order in which they
    became known.
    """
    from bottega.pipeline.views import publish_events, update_views
    from usecases import find

    session = open_session(workspace, as_json)
    chosen = find(usecase)
    with session.progress() as progress:
        if publish_since or publish_until:
            span = city_span(publish_since, publish_until)
            publish_events(chosen, session.workspace, session.settings, *span, log, progress)
        found = update_views(chosen, session.workspace, log, until_end, progress)
    rows = [
        (
            f"{one.view}/{one.source}",
            *(f"{count:,}" for count in (one.read, one.counted, one.quarantined, one.lag)),
            f"{one.per_second:,.0f}",
            _reasons(one.refused),
        )
        for one in found
    ]
    columns = ("view/source", "read", "counted", "unreadable", "lag", "events/s", "refused")
    session.emit(found, table("", columns, rows))


def _reasons(refused: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in refused.items()) or "none"


@app.command()
def drop(
    view: Annotated[str, typer.Argument(help="Name of a view in the online store, declared or not.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a view from the online store: tiles, event ids, offsets; exit code 1 where the answer is no.

    Until it is materialised or streamed again, the server reads null for its features.
    """
    from bottega.features.online import OnlineStore
    from bottega.pipeline.views import find_held

    session = open_session(workspace, as_json)
    store = OnlineStore(session.workspace.online)
    features = len(find_held(store, view).features)
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise InvalidInput(f"Nobody can be asked whether to drop {view}.", next_step="Add --yes.")
        typer.confirm(f"Drop {view} and its {features} features from the online store?", abort=True)
    store.drop(view)
    session.emit(
        {"view": view, "dropped": True, "features": features},
        f"Dropped {view}. 'bottega features materialize' or 'bottega features stream' brings it back.",
    )


@app.command()
def lookup(
    view: ViewArgument,
    keys: KeysArgument,
    at: AtOption,
    usecase: UseCaseOption = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read one entity's features from the online store, as the server would at that moment, with their age.

    An external view's come from its service; where that does not answer in its time the exit code is 1, while a server
    goes on with the defaults.
    """
    from bottega.features.external import ExternalView
    from bottega.pipeline.views import entity_keys, find_view, read_now
    from bottega.times import to_epoch_us
    from usecases import find

    session = open_session(workspace, as_json)
    declared = find_view(find(usecase), view)
    moment = city_time(at)
    assert moment is not None
    entity = entity_keys(declared, keys)
    found = read_now(session.workspace, session.settings, declared, entity, to_epoch_us(moment))
    rows = [(name, "null" if value is None else f"{value:.4g}") for name, value in found.values.items()]
    age = "no event known" if found.age_s is None else f"newest event known {found.age_s:,.0f} s before"
    if isinstance(declared, ExternalView):
        age = f"as the service {declared.endpoint} says, for {declared.max_age} at a time"
    session.emit(
        {"view": view, "keys": entity, "at": moment.isoformat(), "values": found.values, "age_s": found.age_s},
        table("", ("feature", "value"), rows),
        age,
    )


@app.command()
def why(
    feature: Annotated[str, typer.Argument(help="A feature, for example zone_traffic:speed_kmh_mean_1h.")],
    keys: KeysArgument,
    at: AtOption,
    usecase: UseCaseOption = "eta",
    events: Annotated[int, typer.Option("--events", min=0, help="How many events to list.")] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the tiles and events behind one feature value, and why each event counts or does not."""
    from bottega.pipeline.views import entity_keys, explain_value, find_windowed
    from usecases import find

    session = open_session(workspace, as_json)
    view, _, name = feature.partition(":")
    chosen = find(usecase)
    declared = find_windowed(chosen, view)
    declared.feature(name)
    moment = city_time(at)
    assert moment is not None
    with session.progress() as progress:
        found, online = explain_value(
            chosen, declared, name, session.workspace, session.settings, entity_keys(declared, keys), moment, progress
        )
    value = "null" if found.value is None else f"{found.value:.6g}"
    served = "null" if online is None else f"{online:.6g}"
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in Counter(e.outcome for e in found.events).most_common())
    tiles = [(tile.start, tile.events, "" if tile.total is None else tile.total) for tile in found.tiles]
    newest = [
        (e.source, e.event_time, e.available_at, "null" if e.value is None else f"{e.value:.4g}", e.outcome)
        for e in found.events[::-1][:events]
    ]
    session.emit(
        {"provenance": found, "online": online},
        f"{found.reference} of {', '.join(map(str, found.keys)) or 'the city'} at {found.at}: {value} from the events; "
        f"the online store says {served}.",
        f"The window is {found.since} to {found.until}: {outcomes or 'no event lies in it'}.",
        *([table("Tiles", ("tile begins", "events", "sum"), tiles)] if tiles else []),
        *([table("Newest events", ("source", "happened", "known", "value", "outcome"), newest)] if newest else []),
    )


@app.command()
def parity(
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare offline and online answers for every request of a span, value by value; exit code 1 on a mismatch.

    External views are not compared, since both sides ask their services; 'bottega features skew' holds what was served
    to what the services say of the past.
    """
    from bottega.pipeline.views import check_parity, not_compared
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    chosen = find(usecase)
    with session.progress() as progress:
        found = check_parity(chosen, session.workspace, session.settings, start, end, progress)
    left_out = not_compared(chosen)
    session.emit(
        {**msgspec.structs.asdict(found), "not_compared": left_out},
        f"{found.values:,} values compared, {found.mismatches:,} differ. {found.first_mismatch or ''}",
        *([f"Not compared: {', '.join(left_out)}; see 'bottega features skew'."] if left_out else []),
    )
    if found.mismatches:
        raise typer.Exit(1)


@app.command()
def skew(
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the features that the server used with the training set's; exit code 1 where a value differs."""
    from bottega.pipeline.skew import served_skew
    from usecases import find

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        found = served_skew(
            find(usecase), session.workspace, session.settings, city_time(since), city_time(until), progress=progress
        )
    rows = [
        (
            f.feature,
            f.values,
            f.mismatches,
            *("" if mean is None else f"{mean:.4g}" for mean in (f.served.mean, f.trained.mean)),
            f"{f.served.null_share:.1%}",
            f"{f.trained.null_share:.1%}",
            "" if f.distance is None else f"{f.distance:.3f}",
        )
        for f in found.features
    ]
    columns = (
        "feature",
        "values",
        "differ",
        "mean served",
        "mean trained",
        "null served",
        "null trained",
        "KS distance",
    )
    repeats = f" ({found.repeats:,} repeats left out)" if found.repeats else ""
    title = f"{usecase} version {found.model_version}, {found.requests:,} requests{repeats}"
    session.emit(found, table(title, columns, rows))
    if found.mismatches:
        raise typer.Exit(1)
