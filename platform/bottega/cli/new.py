"""`bottega new usecase NAME`: the five files of a use case that works, to be made one's own."""

import keyword
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, speak
from bottega.errors import Conflict, InvalidInput

TEMPLATE = Path(__file__).with_name("usecase_template")
NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")

app = typer.Typer(help="Begin something new.", no_args_is_help=True)


@app.command("usecase")
def new_usecase(
    name: Annotated[str, typer.Argument(help="Its name, as a Python module's: lower case, digits, underscores.")],
    title: Annotated[str, typer.Option("--title", help="The question that it answers.")] = "What will this trip cost?",
    folder: Annotated[Path | None, typer.Option("--folder", help="Its parent; default: apps/usecases.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a use case's files: a working fare model, which every contract test picks up at once."""
    place = write_usecase(folder or _usecases(), name, title)
    files = sorted(path.name for path in place.iterdir())
    speak(
        as_json,
        {"usecase": name, "folder": str(place), "files": files},
        f"{place}: {', '.join(files)}.\nNext: bottega train {name}",
    )


def write_usecase(usecases: Path, name: str, title: str) -> Path:
    """The new use case's folder.

    Raises InvalidInput for a name that is no module's, or a title of several lines; Conflict where the folder exists.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise InvalidInput(
            f"{name!r} is no name for a use case.",
            next_step="Give 2 to 40 lower-case letters, digits and underscores, a letter first, and no Python keyword.",
        )
    if not title.isprintable() or not title.strip() or set(title) & set('"\\'):
        raise InvalidInput(f"The title is {title!r}.", next_step="Give one line of text without quotes or backslashes.")
    place = usecases / name
    if place.exists():
        raise Conflict(f"{place} exists.", next_step="Choose another name, or remove the folder.")
    with tempfile.TemporaryDirectory(dir=usecases) as folder:
        written = Path(folder) / name
        written.mkdir()
        for path in TEMPLATE.glob("*.txt"):
            text = path.read_text("utf-8")
            (written / path.stem).write_text(text.format(name=name, title=title), "utf-8")
        shutil.move(written, place)
    return place


def _usecases() -> Path:
    """The folder of the use cases that are installed."""
    import usecases

    return Path(next(iter(usecases.__path__)))
