"""A source of events: which of a table's columns say who, when, and when it became known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bottega.errors import InvalidInput
from bottega.features.checks import check_duration, check_name, check_unique
from bottega.times import parse_duration_s


@dataclass(frozen=True)
class Source:
    """One table or stream of events, as a view sees it.

    `event_time` names the column that says when an event happened, `available_at` the one that says when it became
    known; without the latter an event is known `delay` after it happened. `event_id` names the column that tells an
    event from its copies: a copy with the same id and keys in the same tile is refused; `id_dtype` is its type in a
    stream, int64 or string. `keys` names the columns that hold the entity's keys, `columns` those that hold the view's
    columns, {view's name: source's name}; where they are not named, both have the view's own names.

    >>> Source("trips", "dropoff_at", keys=("pu_zone",)).delay_us
    0
    """

    name: str
    event_time: str
    available_at: str | None = None
    delay: str | None = None
    event_id: str | None = None
    keys: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    id_dtype: Literal["int64", "string"] = "int64"

    def __init__(
        self,
        name: str,
        event_time: str,
        available_at: str | None = None,
        delay: str | None = None,
        event_id: str | None = None,
        keys: Sequence[str] = (),
        columns: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        id_dtype: Literal["int64", "string"] = "int64",
    ) -> None:
        check_name("Source", name)
        pairs = tuple(columns.items()) if isinstance(columns, Mapping) else tuple(columns)
        key_names = (keys,) if isinstance(keys, str) else tuple(keys)
        others = [column for column in (available_at, event_id) if column is not None]
        for column in [event_time, *others, *key_names, *(part for pair in pairs for part in pair)]:
            check_name(f"A column of Source {name!r}:", column)
        check_unique(f"Source {name!r}", [ours for ours, _ in pairs], "column")
        if available_at and delay:
            raise InvalidInput(
                f"Source {name!r} has both available_at and delay.",
                next_step="Keep available_at where a column says when an event became known, else delay.",
            )
        if id_dtype not in ("int64", "string"):
            raise InvalidInput(f"Source {name!r} has ids of type {id_dtype!r}.", next_step="Use int64 or string.")
        if delay is not None:
            check_duration(f"The delay of Source {name!r}:", delay)
        for field, value in (
            ("name", name),
            ("event_time", event_time),
            ("available_at", available_at),
            ("delay", delay),
            ("event_id", event_id),
            ("keys", key_names),
            ("columns", pairs),
            ("id_dtype", id_dtype),
        ):
            object.__setattr__(self, field, value)

    @property
    def delay_us(self) -> int:
        """How long after it happened an event becomes known, where no column says so."""
        return parse_duration_s(self.delay) * 1_000_000 if self.delay else 0

    def with_keys(self, keys: tuple[str, ...]) -> "Source":
        """The same source with these key columns."""
        return replace(self, keys=keys)

    def column(self, name: str) -> str:
        """The source's name of a view's column."""
        return dict(self.columns).get(name, name)
