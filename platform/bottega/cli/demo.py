"""`bottega demo` and `bottega doctor`: the whole loop once, and what this machine lacks for it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bottega.cli.console import JsonOption, Session, WorkspaceOption, open_session, table
from bottega.cli.serve import studio_command
from bottega.progress import Progress

if TYPE_CHECKING:
    from bottega.demo.story import Stage


def demo(
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", help="simulator, shock or stable; default: shock where real trips are, else simulator."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the stages that are done and go on after them.")
    ] = False,
    studio: Annotated[
        bool, typer.Option("--studio/--no-studio", help="Open the Studio when done; Ctrl-C ends it.")
    ] = True,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play the whole loop: data, features, training, compile, serve, watch, an incident, retrain, recover."""
    from bottega.demo.report import rows
    from bottega.demo.run import played
    from usecases import find

    session = open_session(workspace, as_json)
    session.out.print(f"Bottega's loop, in {session.workspace.root}. Every stage is also a command.\n")
    with played(find("eta"), session.workspace, session.settings, scenario, Telling(session), resume=resume) as report:
        session.emit(report, table("The loop, closed", ("", "figure"), rows(report)))
        session.out.print(f"\nThe same figures: {session.workspace.demo / 'report.json'}")
        if studio and not as_json:
            _open_studio(session)


class Telling:
    """Tells the demo's story on the terminal."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextlib.contextmanager
    def begin(self, number: int, of: int, stage: "Stage") -> Iterator[Progress]:
        """Say what comes and why; show progress while it lasts."""
        self._session.out.print(f"[bold]{number}/{of} {escape(stage.title)}[/bold]\n    {escape(stage.why)}")
        with self._session.progress() as progress:
            yield progress

    def end(self, stage: "Stage", figures: dict[str, Any], seconds: float, kept: bool) -> None:
        """Say what came of it, and how to do it again."""
        done = f"kept from before: {stage.title}" if kept else f"{seconds:.0f} s"
        self._session.out.print(
            f"    {escape(stage.tell(figures))}\n    [dim]{escape(done)}; again: {escape(stage.command)}[/dim]\n"
        )


def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say what is missing on this machine and how to get it; exit code 1 where something required is."""
    from bottega.cli.console import speak
    from bottega.doctor import examine, exit_code
    from bottega.settings import load_settings

    findings = examine(load_settings({"workspace": workspace}))
    marks = {"ok": "ok", "missing": "MISSING", "optional": "optional"}
    rows = [(f.name, marks[f.status], f.found, f.next_step) for f in findings]
    speak(as_json, findings, table("", ("what", "", "found", "next step"), rows))
    if exit_code(findings):
        raise typer.Exit(1)


def _open_studio(session: Session) -> None:
    settings = session.settings
    session.out.print(f"The Studio: http://{settings.host}:{settings.studio_port} (Ctrl-C ends it, and the server).")
    command = studio_command(settings.host, settings.studio_port, headless=not os.environ.get("DISPLAY"))
    environment = {**os.environ, "BOTTEGA_WORKSPACE": str(session.workspace.root)}
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(command, env=environment, check=False)
