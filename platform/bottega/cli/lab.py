"""`bottega lab`: learn by doing; your files are never overwritten without a backup."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, Session, WorkspaceOption, open_session, table

app = typer.Typer(help="Guided labs: a lesson, an exercise, checks and hints.", no_args_is_help=True)
LabArgument = Annotated[str, typer.Argument(help="Number or name of the lab, for example 00.")]


@app.command("list")
def list_labs(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the labs and how far you are in each."""
    from bottega.lab import overview

    session = open_session(workspace, as_json)
    found = overview(session.workspace)
    rows = [(lab.name, lab.title, lab.minutes, lab.status, f"{lab.passing_checks}/{lab.checks}") for lab in found]
    session.emit(found, table("", ("lab", "title", "minutes", "status", "checks"), rows))


@app.command()
def start(lab: LabArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Copy a lab's lesson and exercise into your workspace."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    chosen = engine.find_lab(lab)
    started = engine.start(session.workspace, chosen)
    kept = f"\nKept as they are: {', '.join(started.kept)}." if started.kept else ""
    session.emit(
        started,
        f"Lab {chosen.number}: {chosen.card.title} ({chosen.card.minutes} minutes)\n{chosen.card.question}\n\n"
        f"Your files: {started.folder}{kept}\n"
        f"Read lesson.py (or 'bottega lab notebook {chosen.number}'), fill in exercise.py, "
        f"then 'bottega lab check {chosen.number}'.",
    )


@app.command()
def check(lab: LabArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check your exercise; exit code 1 while something is wrong."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    report = engine.check(session.workspace, engine.find_lab(lab))
    lines = []
    if report.problem:
        where = f", line {report.problem.line}: {report.problem.source}" if report.problem.line else ""
        lines.append(f"{report.problem.kind.replace('_', ' ')}{where}\n  {report.problem.message}")
    for result in report.checks:
        lines.append(f"{'ok  ' if result.status == 'passed' else 'fail'} {result.function}: {result.name}")
        lines += [f"       {text}" for text in (result.message, result.hint and f"Hint: {result.hint}") if text]
    passed = sum(result.status == "passed" for result in report.checks)
    lines.append(
        f"\n{passed} of {len(report.checks)} checks pass."
        + ("" if report.passed else f" A hint: 'bottega lab hint {lab}'.")
    )
    session.emit(report, "\n".join(lines).replace("[", r"\["))
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def hint(
    lab: LabArgument,
    function: Annotated[
        str | None, typer.Option("--function", help="Which function; default: the first failing one.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the next hint: three steps, each says more."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    given = engine.hint(session.workspace, engine.find_lab(lab), function)
    wrong = "".join(f"\nAbout your answer: {text}" for text in given.wrong)
    session.emit(given, f"{given.function}, hint {given.step} of {given.of}: {given.text}{wrong}".replace("[", r"\["))


@app.command()
def reset(lab: LabArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Put the starter back; your file is backed up first."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    _replaced(session, engine.reset(session.workspace, engine.find_lab(lab), datetime.now(UTC)))


@app.command("catch-up")
def catch_up(lab: LabArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Take the solution and go on; your file is backed up first."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    _replaced(session, engine.catch_up(session.workspace, engine.find_lab(lab), datetime.now(UTC)))


@app.command()
def solution(
    lab: LabArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Show it even before the first try.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the solution."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    shown = engine.solution(session.workspace, engine.find_lab(lab), yes)
    session.emit(shown, shown.text.replace("[", r"\["))


@app.command()
def notebook(lab: LabArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write the lesson as a Jupyter notebook into your workspace."""
    from bottega import lab as engine

    session = open_session(workspace, as_json)
    written = engine.notebook(session.workspace, engine.find_lab(lab), datetime.now(UTC))
    backup = f" The older one: {written.backup}." if written.backup else ""
    session.emit(written, f"Written: {written.file}.{backup}")


def _replaced(session: Session, replaced: object) -> None:
    from bottega.lab import Replaced

    assert isinstance(replaced, Replaced)
    backup = f" Your file is kept as {replaced.backup}." if replaced.backup else ""
    session.emit(replaced, f"Written: {replaced.file}.{backup}")
