"""`bottega features`: what is declared, what the store answers, and the proof that offline and online agree."""

from typing import Annotated

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
from bottega.errors import InvalidInput

app = typer.Typer(
    help="Features: declared once; joined point-in-time offline, read by key online.", no_args_is_help=True
)
UseCaseOption = Annotated[str, typer.Option("--usecase", "-u", help="Use case whose views are meant.")]


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
    view: Annotated[str, typer.Argument(help="Name of the view, for example zone_traffic.")],
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a view: entity, source, owner, each feature's lineage; with --from and --until its statistics."""
    from bottega.features.catalogue import describe
    from bottega.pipeline.views import find_view, view_statistics
    from usecases import find

    session = open_session(workspace, as_json)
    chosen = find(usecase)
    declared = find_view(chosen, view)
    described = describe(declared)
    start, end = city_time(since), city_time(until)
    spread = {}
    if start is not None and end is not None:
        spread = view_statistics(chosen, declared, session.workspace, session.settings, start, end)
    rows = []
    for feature in described.features:
        name = feature.reference.partition(":")[2]
        numbers = spread.get(name)
        seen = "" if numbers is None or numbers.mean is None else f"{numbers.mean:.3g} ({numbers.null_share:.0%} null)"
        rows.append((feature.reference, feature.unit, feature.window, feature.lineage, seen))
    session.emit(
        {"view": described, "statistics": spread},
        f"{described.name}: {described.description}\nentity {described.entity}, source {described.source}",
        table("", ("feature", "unit", "window", "lineage", "mean"), rows),
    )


@app.command()
def materialize(
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a span of past events into the online store, so that it answers as if it had seen them pass."""
    from bottega.pipeline.views import materialize_views
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    with session.progress() as progress:
        events = materialize_views(find(usecase), session.workspace, session.settings, start, end, progress)
    session.emit({"usecase": usecase, "events": events}, f"{events:,} events count in the online store's tiles.")


@app.command()
def lookup(
    view: Annotated[str, typer.Argument(help="Name of the view, for example zone_traffic.")],
    keys: Annotated[list[int], typer.Argument(help="The entity's keys, for example 74.")],
    at: Annotated[str, typer.Option("--at", help="Moment; without an offset it is the city's local time.")],
    usecase: UseCaseOption = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read one entity's features from the online store, as the server would at that moment."""
    from bottega.features.view import FeatureView
    from bottega.pipeline.views import find_view, read_now
    from bottega.times import to_epoch_us
    from usecases import find

    session = open_session(workspace, as_json)
    declared = find_view(find(usecase), view)
    if not isinstance(declared, FeatureView):
        raise InvalidInput(f"{view} is static.", next_step=f"See 'bottega features show {view}'.")
    moment = city_time(at)
    assert moment is not None
    found = read_now(session.workspace, declared, keys, to_epoch_us(moment))
    values = {name: None if value != value else value for name, value in found.items()}
    rows = [(name, "null" if value is None else f"{value:.4g}") for name, value in values.items()]
    session.emit(
        {"view": view, "keys": keys, "at": moment.isoformat(), "values": values}, table("", ("feature", "value"), rows)
    )


@app.command()
def parity(
    usecase: UseCaseOption = "eta",
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare offline and online answers for every request of a span, value by value; exit code 1 on a mismatch."""
    from bottega.pipeline.views import check_parity
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    with session.progress() as progress:
        found = check_parity(find(usecase), session.workspace, session.settings, start, end, progress)
    session.emit(found, f"{found.values:,} values compared, {found.mismatches:,} differ. {found.first_mismatch or ''}")
    if found.mismatches:
        raise typer.Exit(1)
