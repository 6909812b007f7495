"""The labs that there are: one folder `NN_name` each, with the same five files.

    lesson.py     text and runnable cells (jupytext percent format)
    exercise.py   one to three functions to write
    checks.py     behavioural checks of them, see `bottega.lab.rules`
    hints.toml    the lab's card, a ladder of three hints for each function, a hint for each common wrong answer
    solution.py   the functions, written

A sixth part, `wrong/<key>.py`, is for the tests: the common wrong answer for which the hint `<key>` is meant.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bottega.errors import InvalidData, NotFound
from bottega.settings import asset_folder

FILES = ("lesson.py", "exercise.py", "checks.py", "hints.toml", "solution.py")


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the list of labs shows, and the time that checks and lesson may take."""

    title: str
    question: str
    minutes: int
    """How long a learner needs."""
    check_limit_s: float
    """Longest run of all checks; a longer one is taken for an endless loop."""
    lesson_limit_s: float
    """Longest run of the lesson without a person, on two cores."""


class Guide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hints.toml`. Each ladder has exactly three steps: a nudge, the idea, nearly the answer."""

    lab: Card
    ladder: dict[str, tuple[str, str, str]]
    """Three hints for each function of the exercise."""
    wrong: dict[str, str]
    """A hint for each common wrong answer, by the key that a check names."""


@dataclass(frozen=True)
class Lab:
    """One lab as it is shipped; the learner's copy is the desk's matter."""

    name: str
    """The folder's name, for example `00_the_loop`."""
    folder: Path
    guide: Guide

    @property
    def number(self) -> str:
        """The two digits in front of the name."""
        return self.name.partition("_")[0]

    @property
    def card(self) -> Card:
        """Title, question and times."""
        return self.guide.lab

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that the learner writes, in order."""
        return tuple(self.guide.ladder)


def labs(folder: Path | None = None) -> tuple[Lab, ...]:
    """All labs in `folder` (default: the ones that Bottega ships), by number.

    Raises InvalidData where a lab lacks one of its files or its hints do not have their shape.
    """
    shelf = asset_folder("labs") if folder is None else folder
    return tuple(_read(path) for path in sorted(shelf.glob("[0-9][0-9]_*")) if path.is_dir())


def find_lab(name: str, folder: Path | None = None) -> Lab:
    """The lab called `name`: its whole name, its number (`00`, `0`) or its name without the number.

    >>> find_lab("0").name
    '00_the_loop'
    """
    known = labs(folder)
    for lab in known:
        if name in (lab.name, lab.name.partition("_")[2]) or (name.isdecimal() and int(name) == int(lab.number)):
            return lab
    raise NotFound(f"There is no lab {name!r}.", next_step=f"The labs are {', '.join(lab.name for lab in known)}.")


def _read(folder: Path) -> Lab:
    for file in FILES:
        if not (folder / file).is_file():
            raise InvalidData(f"The lab {folder.name} has no {file}.", next_step=f"A lab has {', '.join(FILES)}.")
    try:
        guide = msgspec.toml.decode((folder / "hints.toml").read_bytes(), type=Guide)
    except msgspec.DecodeError as error:
        raise InvalidData(f"{folder / 'hints.toml'} is not in the shape of a lab's hints: {error}.") from None
    return Lab(folder.name, folder, guide)
