"""`bottega monitor`: error, drift, alarms; replay of past days; late labels."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

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
from bottega.cli.groups import NameFirst

if TYPE_CHECKING:
    from bottega.monitoring.report import Summary

app = typer.Typer(
    cls=NameFirst,
    help="Watch a live model: 'bottega monitor eta'; play past days with 'replay'; hand in late labels with 'labels'.",
    no_args_is_help=True,
)
UseCaseArgument = Annotated[str, typer.Argument(help="Use case, for example eta.")]


@app.command("run", hidden=True)
def run(
    usecase: UseCaseArgument,
    since: FromOption = None,
    until: UntilOption = None,
    drift: Annotated[bool, typer.Option("--drift/--no-drift", help="Also write Evidently's drift report.")] = True,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the live version by the labels that have arrived: error, coverage, drift, alarm, advice."""
    from bottega.pipeline.watch import watch_live
    from usecases import find

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        found = watch_live(
            find(usecase), session.workspace, city_time(since), city_time(until), with_drift=drift, progress=progress
        )
    session.emit(found, *_look(found))


@app.command()
def replay(
    usecase: UseCaseArgument,
    since: FromOption = None,
    until: UntilOption = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="On an alarm, train, compile and deploy a new version.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Retrain with fewer rounds and epochs.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send past trips through the server day by day; labels arrive as trips end. Exit code 0 with or without alarm."""
    from bottega.pipeline.loop import replay_span
    from usecases import find

    session = open_session(workspace, as_json)
    start, end = city_span(since, until)
    with session.progress() as progress:
        found = replay_span(
            find(usecase),
            session.workspace,
            session.settings,
            start,
            end,
            retrain=retrain,
            quick=quick,
            progress=progress,
        )
    phases = [
        (p.name, f"{p.since:%Y-%m-%d}", f"{p.until:%Y-%m-%d}", p.rows, "" if p.mae is None else f"{p.mae:.3f}")
        for p in found.phases
    ]
    alarm = (
        "No alarm."
        if found.alarm_at is None
        else f"{found.alarms} alarm(s), the first at {found.alarm_at:%Y-%m-%d %H:%M} UTC."
    )
    session.emit(
        found,
        f"{found.rows:,} requests answered; version {found.version_before} before, {found.version_after} after.",
        alarm,
        table("", ("phase", "from", "until", "rows", f"MAE {found.last_look.unit}"), phases),
        *found.retrained,
    )


@app.command("alerts")
def list_alerts(
    usecase: UseCaseArgument = "eta", workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """List the alerts, oldest first, with what they rest on."""
    from bottega.monitoring.alerts import read_alerts

    session = open_session(workspace, as_json)
    found = read_alerts(session.workspace, usecase)
    rows = [
        (
            a.id,
            a.status,
            f"{a.detection.at:%Y-%m-%d %H:%M}",
            str(a.model_version),
            f"{a.evidence.shift_share:+.0%}",
            a.next_step,
        )
        for a in found
    ]
    session.emit(found, table("", ("alert", "status", "at (UTC)", "version", "shift", "next step"), rows))


@app.command()
def acknowledge(
    alert: Annotated[str, typer.Argument(help="Id of the alert, for example eta-1.")],
    usecase: Annotated[str, typer.Option("--usecase", "-u", help="Use case.")] = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that somebody has seen an alert."""
    from bottega.monitoring import alerts

    session = open_session(workspace, as_json)
    found = alerts.acknowledge(session.workspace, usecase, alert, datetime.now(UTC))
    session.emit(found, f"{found.id} is acknowledged.")


def _look(found: "Summary") -> list[object]:
    """A look at the live version, for people."""
    normal, labels = found.normal, found.labels
    said: list[object] = [
        f"{found.usecase} version {found.model_version}, "
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC: "
        f"{labels.predictions:,} predictions, {labels.matched:,} with labels, {labels.waiting:,} waiting."
    ]
    if found.mae is not None and found.bias is not None:
        coverage = "" if found.coverage is None else f", coverage {found.coverage:.1%}"
        said.append(
            f"MAE {found.mae:.3f} {found.unit} (held-back: {normal.mae:.3f}), bias {found.bias:+.3f}{coverage}."
        )
    if found.drift is not None:
        rows = [
            (c.name, c.method, c.score, c.threshold, "drift" if c.drifted else "") for c in found.drift_columns.values()
        ]
        said.append(table("drift against the training span", ("column", "method", "score", "limit", ""), rows))
        said.append(f"Evidently's report: {found.drift_report}")
    if found.alert is None:
        said.append("No alarm.")
    else:
        said.append(f"ALARM {found.alert.id}: {found.alert.explanation}\nNext: {found.alert.next_step}")
    return said
