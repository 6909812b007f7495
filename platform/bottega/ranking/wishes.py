"""What a visitor asks for: text and filters, checked before anything is looked up."""

import difflib
from collections.abc import Collection
from datetime import datetime

import msgspec

from bottega.errors import InvalidInput
from bottega.ranking.place import PRICES

LONGEST = 200
MOST = 100


class Wishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search: `text`, and filters that leave places out. Several cuisines or prices mean any of them.

    prices are 1 (cheapest) to 4; `open_at` without an offset from UTC is the time on each place's own clock.
    """

    text: str = ""
    cuisines: tuple[str, ...] = ()
    prices: tuple[int, ...] = ()
    city: str = ""
    open_at: datetime | None = None
    limit: int = 10


def check(wishes: Wishes, cuisines: Collection[str], cities: Collection[str]) -> Wishes:
    """The wishes with names spelt as the places have them. Raises InvalidInput for one that cannot be meant."""
    if len(wishes.text) > LONGEST:
        raise InvalidInput(f"The text has {len(wishes.text)} characters: at most {LONGEST} are searched for.")
    if not 1 <= wishes.limit <= MOST:
        raise InvalidInput(f"limit is {wishes.limit}: it is 1 to {MOST}.")
    for price in wishes.prices:
        if not 1 <= price <= len(PRICES):
            raise InvalidInput(f"price is {price}: it is 1 (cheapest) to {len(PRICES)}.")
    filters = wishes.cuisines or wishes.prices or wishes.city or wishes.open_at
    if not wishes.text.strip() and not filters:
        raise InvalidInput("There is nothing to search for.", next_step="Give some words, or a filter.")
    known = tuple(_known("cuisine", name, cuisines) for name in wishes.cuisines)
    city = _known("city", wishes.city, cities) if wishes.city else ""
    return msgspec.structs.replace(wishes, cuisines=known, city=city)


def parse_price(text: str) -> int:
    """The price band of `1` to `4` or `$` to `$$$$`.

    >>> parse_price("$$")
    2
    """
    if text in PRICES:
        return PRICES.index(text) + 1
    if text.isdecimal() and 1 <= int(text) <= len(PRICES):
        return int(text)
    raise InvalidInput(f"{text!r} is no price.", next_step=f"Prices are 1 to {len(PRICES)}, or $ to {PRICES[-1]}.")


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment of `now` or ISO 8601; without an offset it stays a time on each place's own clock."""
    if text == "now":
        return now
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no time.", next_step="Write 'now' or ISO 8601: 2024-01-19T23:30.") from None


def _known(kind: str, name: str, names: Collection[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    some = ", ".join(near or sorted(names)[:8])
    raise InvalidInput(
        f"No place has the {kind} {name!r}.", next_step=f"{'Near it:' if near else 'There are, among others,'} {some}."
    )
