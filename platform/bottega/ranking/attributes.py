"""What is known of a guest and a place before either has a history, as numbers: theirs, and how they fit together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.datasets.diners import Diners

GUEST = ("smoker", "drink_level", "dress_preference", "ambience", "transport", "interest", "activity", "budget")
PLACE = (
    "city", "alcohol", "smoking_area", "dress_code", "accessibility", "price", "ambience", "franchise", "area",
    "other_services", "parking",
)  # fmt: skip
_STEPS = {"low": 0.0, "medium": 1.0, "high": 2.0}
_KM_PER_DEGREE = 111.195


@dataclass(frozen=True)
class Attributes:
    """Encoded guests and places; row i is the i-th user or place of the tables."""

    guests: np.ndarray  # (users, guest columns) float32
    places: np.ndarray  # (places, place columns) float32
    fits: dict[str, np.ndarray]
    """How each guest fits each place, by name: (users, places) float32; NaN where one side says nothing."""
    names: tuple[str, ...]
    """Of the columns of `matrix`."""

    def matrix(self, user: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The columns of these pairs, given as rows of users and places: (pairs, columns) float32."""
        fits = [values[user, place] for values in self.fits.values()]
        return np.column_stack([self.guests[user], self.places[place], *fits]).astype(np.float32)


def encode(diners: Diners, common: int = 4) -> Attributes:
    """Encode the tables; cuisines of fewer than `common` places have no column of their own."""
    guests, guest_names = _one_hot(diners.users, GUEST, "guest")
    places, place_names = _one_hot(diners.places, PLACE, "place")
    kinds = diners.places["cuisines"].explode().value_counts()
    cuisines = sorted(kinds[kinds >= common].index)
    has = np.array([[name in (found or ()) for name in cuisines] for found in diners.places["cuisines"]], np.float32)
    born = diners.users[["birth_year"]].to_numpy(np.float32)
    fits = {
        "shares_cuisine": _overlap(diners.users["cuisines"], diners.places["cuisines"]),
        "shares_payment": _overlap(diners.users["payments"], diners.places["payments"]),
        "price_over_budget": _price_over_budget(diners),
        "km": _distance_km(diners),
    }
    names = (*guest_names, "guest birth_year", *place_names, *(f"place cuisine {name}" for name in cuisines), *fits)
    return Attributes(np.hstack([guests, born]), np.hstack([places, has]), fits, names)


def _one_hot(table: pd.DataFrame, columns: Sequence[str], prefix: str) -> tuple[np.ndarray, list[str]]:
    """A column for each value that stands in the table; all 0 where nothing is known."""
    names, parts = [], []
    for column in columns:
        for value in sorted(table[column].dropna().unique()):
            names.append(f"{prefix} {column} {value}")
            parts.append((table[column] == value).to_numpy(np.float32))
    return np.column_stack(parts), names


def _overlap(wanted: pd.Series, offered: pd.Series) -> np.ndarray:
    """1 where a list of the one and a list of the other share a value, NaN where either is unknown."""
    found = np.full((len(wanted), len(offered)), np.nan, np.float32)
    for i, some in enumerate(wanted):
        for j, others in enumerate(offered):
            if some and others:
                found[i, j] = float(not set(some).isdisjoint(others))
    return found


def _price_over_budget(diners: Diners) -> np.ndarray:
    budget = diners.users["budget"].map(_STEPS).to_numpy(np.float32)
    price = diners.places["price"].map(_STEPS).to_numpy(np.float32)
    return price[None, :] - budget[:, None]


def _distance_km(diners: Diners) -> np.ndarray:
    here = diners.users[["latitude", "longitude"]].to_numpy(float)
    there = diners.places[["latitude", "longitude"]].to_numpy(float)
    apart = (here[:, None] - there[None]) * _KM_PER_DEGREE
    apart[..., 1] *= np.cos(np.radians(there[:, 0].mean()))
    return np.hypot(apart[..., 0], apart[..., 1]).astype(np.float32)
