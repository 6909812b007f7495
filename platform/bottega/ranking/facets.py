"""Filters and facets over places, as arrays: which places pass, and how many each further choice would leave."""

import functools
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from bottega.datasets.hours import open_at
from bottega.ranking.place import PRICES, Place
from bottega.ranking.wishes import Wishes


class Facets:
    """Places by cuisine, price and city; for each facet a name a column and who has it, (places, names) bool."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        self.names: dict[str, tuple[str, ...]] = {
            "cuisine": tuple(sorted({cuisine for place in places for cuisine in place.cuisines})),
            "price": PRICES,
            "city": tuple(sorted({place.city for place in places})),
        }
        self._has = {facet: np.zeros((len(places), len(names)), bool) for facet, names in self.names.items()}
        for facet, names in self.names.items():
            column = {name: index for index, name in enumerate(names)}
            for row, place in enumerate(places):
                self._has[facet][row, [column[name] for name in _values(place, facet)]] = True
        self._open_at = functools.lru_cache(8)(self._look)  # asked once for each facet of a search

    def passing(self, wishes: Wishes, leaving_out: str = "") -> np.ndarray:
        """Which places pass every filter, but the one called `leaving_out`: (places,) bool.

        A place of unknown price or hours does not pass a filter on it.
        """
        passes = np.ones(len(self.places), bool)
        for facet, chosen in _chosen(wishes).items():
            if chosen and facet != leaving_out:
                columns = [self.names[facet].index(name) for name in chosen]
                passes &= self._has[facet][:, columns].any(axis=1)
        if wishes.open_at is not None and leaving_out != "hours":
            passes &= self._open_at(wishes.open_at)
        return passes

    def _look(self, moment: datetime) -> np.ndarray:
        """Which places are open then: (places,) bool."""
        return np.array(
            [place.hours is not None and open_at(place.hours, moment, place.timezone) for place in self.places]
        )

    def count(self, wishes: Wishes, reached: np.ndarray) -> dict[str, dict[str, int]]:
        """Of the places that the text reaches, (places,) bool: how many a choice in a facet would leave, most first."""
        return {facet: self._counts(facet, reached & self.passing(wishes, facet)) for facet in self.names}

    def _counts(self, facet: str, rows: np.ndarray) -> dict[str, int]:
        counts = self._has[facet][rows].sum(axis=0)
        order = np.argsort(-counts, kind="stable")
        return {self.names[facet][column]: int(counts[column]) for column in order if counts[column]}


def is_open(place: Place, wishes: Wishes) -> bool | None:
    """Whether the place is open at the wished moment; None where none is wished, or nobody knows the hours."""
    if wishes.open_at is None or place.hours is None:
        return None
    return open_at(place.hours, wishes.open_at, place.timezone)


def _values(place: Place, facet: str) -> tuple[str, ...]:
    if facet == "cuisine":
        return place.cuisines
    if facet == "city":
        return (place.city,)
    return (PRICES[place.price - 1],) if place.price else ()


def _chosen(wishes: Wishes) -> dict[str, tuple[str, ...]]:
    prices = tuple(PRICES[price - 1] for price in wishes.prices)
    return {"cuisine": wishes.cuisines, "price": prices, "city": (wishes.city,) if wishes.city else ()}
