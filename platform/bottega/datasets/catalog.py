"""The catalogue: what each dataset is, where its publisher keeps it, its columns, and the rules for its rows."""

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from bottega.errors import InvalidData, NotFound
from bottega.settings import asset_folder


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: our name, the publisher's name where it differs, type, unit and whether a value may be missing.

    `table` names its table where a dataset has several; `texts` is a list of texts in one cell.
    """

    name: str
    type: Literal["time", "integer", "number", "text", "texts", "bool", "bytes"]
    table: str = ""
    official: str = ""
    unit: str = ""
    nullable: bool = False
    description: str = ""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One declared rule for rows; a row is refused for the first rule that it breaks.

    `kind`: `type` (a value is of its column's type), `null` (a column that is not nullable has a value; the reason gets
    the column's name), `month` (pickup lies in the file's month), `local_time` (the wall clock shows such a time),
    `range` (`minimum` <= column <= `maximum`, column > `above`), `allowed` (the column is one of `values`), `past` (the
    column's time is not after the moment of reading), `hour` (the column's time is a whole hour), `picture` (the bytes
    are a picture; the reasons are those of bottega.datasets.photo), `duplicate` (no earlier row has the same values in
    `columns`; of trips: the row does not repeat one of an earlier file of the same month), `reference` (another of the
    dataset's tables knows the value).
    `table` names the table whose rows are meant where a dataset has several.
    """

    reason: str
    kind: Literal[
        "type", "null", "month", "local_time", "range", "allowed", "past", "hour", "picture", "duplicate", "reference"
    ]
    column: str = ""
    columns: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    values: tuple[str | int | float | bool, ...] = ()
    table: str = ""


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset as `datasets/<name>/dataset.toml` declares it."""

    name: str
    title: str
    licence: str
    publisher: str
    columns: tuple[Column, ...]
    homepage: str = ""
    url: str = ""
    """The publisher's address of one file; `{month}` stands for YYYY-MM."""
    file: str = ""
    """The file's name here; `{month}` as in `url`."""
    timezone: str = ""
    """IANA zone of the wall-clock times in the files."""
    sha256: dict[str, str] = {}
    """Pinned checksums by file name."""
    checks: tuple[Check, ...] = ()

    @property
    def card(self) -> Path:
        """The dataset card: provenance, licence, columns with units, quirks."""
        return asset_folder("datasets") / self.name / "card.md"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason for which a row can be refused, in the order in which the rules are tried."""
        return reasons_of(self.columns, self.checks)


def reasons_of(columns: Sequence[Column], checks: Sequence[Check]) -> tuple[str, ...]:
    """Every reason for which these checks refuse a row, in their order."""
    named: list[str] = []
    for check in checks:
        if check.kind == "null":
            named += [f"{check.reason}_{column.name}" for column in columns if not column.nullable]
        else:
            named.append(check.reason)
    return tuple(dict.fromkeys(named))


def read_dataset(file: Path) -> Dataset:
    """Read one `dataset.toml`; raises InvalidData naming the key that is wrong."""
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), Dataset)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidData(f"{file} is no dataset declaration: {error}.", next_step="Correct the file.") from None


@functools.cache
def _catalog(folder: Path) -> MappingProxyType[str, Dataset]:
    found = [read_dataset(file) for file in sorted(folder.glob("*/dataset.toml"))]
    return MappingProxyType({dataset.name: dataset for dataset in found})


def catalog() -> dict[str, Dataset]:
    """All datasets by name.

    >>> "tlc_green_trips" in catalog()
    True
    """
    return dict(_catalog(asset_folder("datasets")))


def dataset(name: str) -> Dataset:
    """The dataset called `name`; raises NotFound with the names that exist."""
    known = _catalog(asset_folder("datasets"))
    if name not in known:
        raise NotFound(f"There is no dataset {name!r}.", next_step=f"Datasets are {', '.join(known)}.")
    return known[name]
