"""Restaurants, their guests and who liked what, in three Mexican cities: for newcomers without a history.

City names come in many spellings, or not at all. Known spellings become one; a missing city is that of the nearest
place that has one.
"""

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from bottega.datasets.catalog import dataset
from bottega.datasets.hours import Spans, on_days, read_span
from bottega.datasets.relation import Relation, read_relation
from bottega.errors import InvalidData

DATASET = "uci_restaurant"
TIMEZONE = "America/Mexico_City"
STATES = MappingProxyType(
    {
        "San Luis Potosi": "San Luis Potosi",
        "Soledad": "San Luis Potosi",
        "Ciudad Victoria": "Tamaulipas",
        "Cuernavaca": "Morelos",
        "Jiutepec": "Morelos",
    }
)
_SPELLINGS = MappingProxyType(
    {
        "sanluispotosi": "San Luis Potosi",
        "sanluispotos": "San Luis Potosi",
        "slp": "San Luis Potosi",
        "soledad": "Soledad",
        "ciudadvictoria": "Ciudad Victoria",
        "cdvictoria": "Ciudad Victoria",
        "victoria": "Ciudad Victoria",
        "cuernavaca": "Cuernavaca",
        "jiutepec": "Jiutepec",
    }
)
_CLOSED = (0, 1440)  # the file writes 00:00-00:00 for a day on which a place is closed


@dataclass(frozen=True)
class Diners:
    """Places and users with their attributes, ratings, and opening hours by place_id; sorted by their ids."""

    places: pd.DataFrame
    users: pd.DataFrame
    ratings: pd.DataFrame
    hours: dict[int, Spans]
    """Only of places whose hours are known."""
    rejected: dict[str, int]
    """Refused rows by table and reason, such as `ratings.unknown_place`."""


def load_diners(folder: Path) -> Diners:
    """Read the four tables.

    Raises NotFound for a table without a file, InvalidData for a file that is not what it claims, for a table without
    a sound row, and for opening hours that are none.
    """
    declared = dataset(DATASET)
    relations = {table: read_relation(folder, declared, table) for table in ("places", "users", "ratings", "hours")}
    rejected: Counter[str] = Counter()
    places = _sound("places", relations["places"], rejected).sort_values("place_id", ignore_index=True)
    users = _sound("users", relations["users"], rejected).sort_values("user_id", ignore_index=True)
    elsewhere = {table: _unknown(relations[table], "place_id", places) for table in ("ratings", "hours")}
    stranger = _unknown(relations["ratings"], "user_id", users)
    ratings = _sound(
        "ratings", relations["ratings"], rejected, ("unknown_user", stranger), ("unknown_place", elsewhere["ratings"])
    ).sort_values(["user_id", "place_id"], ignore_index=True)
    hours = _sound("hours", relations["hours"], rejected, ("unknown_place", elsewhere["hours"]))
    return Diners(_clean(places), users, ratings.astype({"rating": int}), read_hours(hours), dict(rejected))


def read_hours(rows: pd.DataFrame) -> dict[int, Spans]:
    """Opening hours by place from rows of place_id, hours (`08:00-21:00;`) and days (`Mon;Tue;`).

    `00:00-00:00` is a closed day; a place that would be closed all week is one whose hours nobody entered.
    """
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows.itertuples(index=False):
        days = [day for day in str(row.days).split(";") if day]
        for text in filter(None, str(row.hours).split(";")):
            span = read_span(text)
            if span != _CLOSED:
                found[int(row.place_id)] += on_days(span, days)
    return {place: tuple(sorted(set(spans))) for place, spans in found.items()}


def clean_city(text: str) -> str | None:
    """The one spelling of a city's name; None for a name that is none of the known ones.

    >>> clean_city("s.l.p."), clean_city("Cd. Victoria")
    ('San Luis Potosi', 'Ciudad Victoria')
    """
    folded = unicodedata.normalize("NFKD", text).lower()
    return _SPELLINGS.get("".join(letter for letter in folded if letter.isascii() and letter.isalpha()))


def _clean(places: pd.DataFrame) -> pd.DataFrame:
    """One spelling a city and a state, underscores out of the names."""
    cities = [None if pd.isna(city) else clean_city(city) for city in places["city"]]
    known = np.array([city is not None for city in cities])
    if not known.any():
        raise InvalidData("No place has a known city.", next_step=f"Known are {', '.join(STATES)}.")
    at = np.radians(places[["latitude", "longitude"]].to_numpy(float))
    plane = np.column_stack([at[:, 0], at[:, 1] * np.cos(at[:, 0].mean())])  # (places, 2)
    named = np.flatnonzero(known)
    for row in np.flatnonzero(~known):
        cities[row] = cities[named[np.square(plane[named] - plane[row]).sum(axis=1).argmin()]]
    return places.assign(
        city=cities,
        state=[STATES[str(city)] for city in cities],
        name=[" ".join(name.replace("_", " ").split()) for name in places["name"]],
    )


def _sound(table: str, relation: Relation, rejected: Counter[str], *more: tuple[str, np.ndarray]) -> pd.DataFrame:
    verdict = relation.judge(*more)
    rejected.update({f"{table}.{reason}": count for reason, count in verdict.counts().items()})
    found = relation.rows[verdict.good]
    if found.empty:
        raise InvalidData(f"The table {table} has no sound row: {verdict.counts()}.", next_step="Correct the rows.")
    return found


def _unknown(relation: Relation, column: str, table: pd.DataFrame) -> np.ndarray:
    return ~relation.rows[column].isin(table[column]).to_numpy(bool, na_value=False)
