"""`bottega train`, `evaluate`: from data to a champion, and its score."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bottega.cli.console import FromOption, JsonOption, UntilOption, WorkspaceOption, city_time, open_session, table

if TYPE_CHECKING:
    from bottega.training.evaluate import SliceScore

UseCaseArgument = Annotated[str, typer.Argument(help="Use case, for example eta.")]


def train(
    usecase: UseCaseArgument,
    since: FromOption = None,
    until: UntilOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds and epochs: worse, and much faster.")] = False,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads; default: one a core.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on a span, judge on its newest part, promote the best model where the gate opens (else exit code 1)."""
    from bottega.pipeline.train import Options
    from bottega.pipeline.train import train as run
    from usecases import find

    session = open_session(workspace, as_json)
    options = Options(quick=quick, threads=threads)
    with session.progress() as progress:
        found = run(
            find(usecase), session.workspace, session.settings, city_time(since), city_time(until), options, progress
        )
    judged = found.candidates
    rows = [(name, *(model.metrics[name] for model in judged)) for name in found.metrics]
    session.emit(
        found,
        f"{found.rows:,} rows from {found.data_source}; refused: {sum(found.rows_rejected.values()):,}.",
        table(f"on the gate's period, from {found.gate_from}", ("metric", *(model.model for model in judged)), rows),
        *_worst(found.worst_slices),
        f"{found.usecase} version {found.model_version} ({found.model}) is champion. {found.reason}\n"
        f"Next: bottega compile {found.usecase}@champion",
    )


def evaluate(
    usecase: UseCaseArgument,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="File or folder of data of its kind, or one that holds the dataset's folder; default: the dataset.",
        ),
    ] = None,
    since: FromOption = None,
    until: UntilOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Version, for example eta/3; default: the champion.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the champion on any data of its dataset's kind; features are as they were at each request."""
    from bottega.pipeline.evaluate import evaluate as run
    from usecases import find

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        found = run(
            find(usecase),
            session.workspace,
            session.settings,
            reference=model,
            data=data,
            since=city_time(since),
            until=city_time(until),
            progress=progress,
        )
    session.emit(
        found,
        f"{found.usecase} version {found.model_version} on {found.rows:,} rows of {found.data_source}.",
        table("", ("metric", "value"), list(found.metrics.items())),
        table("refused rows", ("reason", "rows"), list(found.rows_rejected.items())),
        *_worst(found.worst_slices),
        *_least_covered(found.least_covered),
    )


def _worst(slices: Sequence["SliceScore"]) -> list[Table]:
    """The table of the worst slices, where the use case has any."""
    rows = [(s.slice, s.value, s.rows, s.mae, s.baseline_mae) for s in slices]
    return [table("worst slices", ("slice", "value", "rows", "MAE", "baseline's"), rows)] if rows else []


def _least_covered(slices: Sequence["SliceScore"]) -> list[Table]:
    """The slices whose interval holds the fewest labels, where the use case has intervals."""
    rows = [(s.slice, s.value, s.rows, s.coverage) for s in slices]
    return [table("least covered slices", ("slice", "value", "rows", "inside"), rows)] if rows else []
