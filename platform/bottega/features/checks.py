"""Rules that every declaration obeys: proper names, no name twice, a key column for each key, sound durations."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from bottega.errors import InvalidInput, NotFound
from bottega.times import parse_duration_s

LONGEST_S = 100 * 366 * 86400
"""A century: no window, delay or promise is longer."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_T = TypeVar("_T")


def check_name(what: str, name: object) -> None:
    """Raise InvalidInput where `name` is not letters, digits and underscores, starting with no digit."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{what} {name!r} is not a name.", next_step="Use letters, digits and underscores, no digit first."
        )


def check_unique(what: str, names: Sequence[str], kind: str = "feature") -> None:
    """Raise InvalidInput where a name is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(
                f"{what} declares {kind} {name!r} twice.", next_step="Remove one of the two declarations."
            )


def check_duration(what: str, text: object) -> int:
    """Seconds of a duration such as `15m`; InvalidInput where it is none, or longer than a century."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} {text!r} is not a duration.", next_step='Write it as text, such as "15m" or "7d".')
    if len(text) > 20 or parse_duration_s(text) > LONGEST_S:
        raise InvalidInput(f"{what} {text[:20]!r} is longer than a century.", next_step="Write a shorter duration.")
    return parse_duration_s(text)


def key_columns(what: str, entity_keys: tuple[str, ...], columns: Sequence[str] | str) -> tuple[str, ...]:
    """The columns that hold an entity's keys: as named, or else the keys' own names."""
    found = ((columns,) if isinstance(columns, str) else tuple(columns)) or entity_keys
    for column in found:
        check_name(f"A key column of {what}:", column)
    if len(found) != len(entity_keys):
        raise InvalidInput(
            f"{what} names {len(found)} key columns ({', '.join(found)}), the entity has {len(entity_keys)}.",
            next_step=f"Name one column for each of: {', '.join(entity_keys) or 'none'}.",
        )
    return found


def find_feature(what: str, view: str, features: Mapping[str, _T], name: str) -> _T:
    """The feature of that name; NotFound says which there are."""
    if name not in features:
        raise NotFound(
            f"{what} has no feature {name!r}. It has: {', '.join(features)}.",
            next_step=f"See 'bottega features show {view}'.",
        )
    return features[name]
