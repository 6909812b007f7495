"""What to ingest: a table's columns and rules as in `dataset.toml`, and the source of its rows, from a TOML file."""

import re
import zoneinfo
from pathlib import Path

import msgspec

from bottega.datasets.catalog import Check, Column
from bottega.datasets.ingest.api import ApiSource
from bottega.datasets.ingest.files import FileSource
from bottega.datasets.ingest.page import PageSource
from bottega.datasets.ingest.queue import QueueSource
from bottega.datasets.ingest.web import check_url
from bottega.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_KINDS = ("range", "allowed", "past", "duplicate")
_VALUES = {"integer": (int,), "number": (int, float), "text": (str,), "bool": (bool,), "time": ()}


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ingestion. Types and nulls are always checked, then `checks` in their order.

    `timezone` is the IANA zone of times without an offset; without it such times are refused.
    """

    table: str
    source: FileSource | ApiSource | PageSource | QueueSource
    columns: tuple[Column, ...]
    checks: tuple[Check, ...] = ()
    timezone: str = ""


def read_spec(path: Path) -> Spec:
    """Read a TOML file that declares an ingestion; its paths are relative to its folder.

    Raises InvalidInput that names the key and the rule.
    """
    try:
        spec = msgspec.toml.decode(path.read_bytes(), type=Spec)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}.", next_step="Write one: see docs/INGESTION.md."
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}.", next_step="See docs/INGESTION.md for the format.") from None
    check_spec(spec)
    source = spec.source
    if isinstance(source, FileSource):
        source = msgspec.structs.replace(source, path=str(path.parent / source.path))
    elif isinstance(source, QueueSource) and "://" not in source.log:
        source = msgspec.structs.replace(source, log=str(path.parent / source.log))
    return msgspec.structs.replace(spec, source=source)


def check_spec(spec: Spec) -> None:
    """Raise InvalidInput where a declaration contradicts itself."""
    _check_name("table", spec.table)
    names = [column.name for column in spec.columns]
    if not names:
        raise InvalidInput("columns: the table has none.", next_step="Add [[columns]] with name and type.")
    for i, column in enumerate(spec.columns):
        _check_name(f"columns[{i}].name", column.name)
        if names.index(column.name) < i:
            raise InvalidInput(f"columns[{i}].name: {column.name!r} is there twice.", next_step="Remove one of them.")
        if column.type == "bytes":
            raise InvalidInput(f"columns[{i}].type: bytes are not ingested.", next_step="Put the files into a folder.")
    if isinstance(spec.source, ApiSource | PageSource):
        check_url("source.url", spec.source.url)
    if spec.timezone and spec.timezone not in zoneinfo.available_timezones():
        raise InvalidInput(f"timezone: there is no zone {spec.timezone!r}.", next_step='Write "America/New_York".')
    if [check.kind for check in spec.checks].count("duplicate") > 1:
        raise InvalidInput("checks: there is more than one of kind 'duplicate'.", next_step="Keep one.")
    columns = {column.name: column for column in spec.columns}
    for i, check in enumerate(spec.checks):
        _check_check(f"checks[{i}]", check, columns)


def _check_name(key: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{key}: {name!r} is no name.", next_step="Use up to 100 letters, digits and underscores, no digit first."
        )


def _check_check(key: str, check: Check, columns: dict[str, Column]) -> None:
    _check_name(f"{key}.reason", check.reason)
    if check.kind not in _KINDS:
        raise InvalidInput(
            f"{key}.kind: {check.kind!r} is not declared for an ingestion: types, times and nulls are always checked.",
            next_step=f"Kinds are {', '.join(_KINDS)}.",
        )
    named = ("columns", check.columns or ("",)) if check.kind == "duplicate" else ("column", (check.column,))
    for name in named[1]:
        if name not in columns:
            raise InvalidInput(
                f"{key}.{named[0]}: there is no column {name!r}.", next_step=f"There are: {', '.join(columns)}."
            )
    if check.kind == "duplicate":
        return
    kind = columns[check.column].type
    if check.kind == "past" and kind != "time":
        raise InvalidInput(f"{key}.column: {check.column!r} is {kind}, no time.", next_step="Name a time.")
    if check.kind == "range":
        if kind not in ("integer", "number"):
            raise InvalidInput(f"{key}.column: {check.column!r} is {kind}, no number.", next_step="Name a number.")
        if check.minimum is check.maximum is check.above is None:
            raise InvalidInput(f"{key}: a range has no bound.", next_step="Add minimum, maximum or above.")
    if check.kind == "allowed" and (not check.values or {type(one) for one in check.values} - set(_VALUES[kind])):
        raise InvalidInput(
            f"{key}.values: {list(check.values)} are no values of a {kind} column.", next_step="List some of its type."
        )
