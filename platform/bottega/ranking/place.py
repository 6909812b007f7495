"""A place to eat as search knows it, whatever the dataset that it comes from."""

import msgspec

from bottega.datasets.hours import Spans

PRICES = ("$", "$$", "$$$", "$$$$")


class Place(msgspec.Struct, frozen=True):
    """A place; `price` counts from 1 (cheapest) to 4, `hours` are None where nobody knows them.

    `also` are words by which people ask for it that its labels do not have, such as `cheap` for the lowest price.
    """

    id: str
    name: str
    city: str
    timezone: str
    cuisines: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    price: int | None = None
    hours: Spans | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Everything that is said about the place, beside its name."""
        return (*self.cuisines, *self.features)
