"""What every command shares: its options, its session, output for people and for machines, and progress."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from bottega.errors import InvalidInput
from bottega.progress import Progress, silent
from bottega.settings import Settings, load_settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="Folder of everything a run writes (or BOTTEGA_WORKSPACE; default ./workspace)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, for machines.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="DATE", help="Start, inclusive; without an offset it is the city's local time."),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="DATE", help="End, exclusive; without an offset it is the city's local time."),
]


@dataclass(frozen=True)
class Session:
    """One command's settings, workspace and way to speak."""

    settings: Settings
    workspace: Workspace
    as_json: bool

    @property
    def out(self) -> Console:
        """Standard output for people; silent where the command speaks JSON."""
        return Console(quiet=self.as_json, highlight=False, soft_wrap=True)

    def emit(self, value: object, *human: Any) -> None:
        """Print `value` as JSON with --json, else the `human` renderables."""
        speak(self.as_json, value, *human)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Live bars on standard error where that is a terminal and the command speaks to a person."""
        if self.as_json or not sys.stderr.isatty():
            yield silent
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def report(task: str, done: int, total: int) -> None:
                if task not in tasks:
                    tasks[task] = bars.add_task(task, total=total or None)
                bars.update(tasks[task], completed=done, total=total or None)

            yield report


def open_session(workspace: Path | None = None, as_json: bool = False, **flags: object) -> Session:
    """Read the settings with these flags on top and open the workspace."""
    settings = load_settings({"workspace": workspace, **flags})
    return Session(settings, Workspace.open(settings.workspace, settings.online), as_json)


def speak(as_json: bool, value: object, *human: Any) -> None:
    """Print `value` as one JSON object, or the `human` renderables."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
        sys.stdout.flush()
        return
    console = Console(highlight=False, soft_wrap=True)
    for renderable in human:
        console.print(renderable)


def city_time(text: str | None) -> datetime | None:
    """A moment in UTC from the command line's text; without an offset it is the city's local time."""
    return None if text is None else parse_time(text, CITY_TIMEZONE)


def city_span(since: str | None, until: str | None) -> tuple[datetime, datetime]:
    """The moments of a span that must be given. Raises InvalidInput where an end is missing."""
    start, end = city_time(since), city_time(until)
    if start is None or end is None:
        raise InvalidInput("This needs a span.", next_step="Give --from and --until.")
    return start, end


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A rich table; numbers to the right."""
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    built = Table(title=title or None, title_justify="left", header_style="bold")
    for column, is_number in zip(columns, numeric, strict=True):
        built.add_column(column, justify="right" if is_number else "left")
    for row in rows:
        built.add_row(*(f"{value:.4g}" if isinstance(value, float) else escape(str(value)) for value in row))
    return built
