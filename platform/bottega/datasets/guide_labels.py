"""What a guide's labels say about a restaurant, in numbers."""

import functools
import tomllib
from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd

from bottega.settings import asset_folder

PRICE_USD = (12.0, 22.0, 40.0, 60.0)
"""What a dinner in each price band is taken to cost."""
_GRADED = frozenset({"Food", "Service", "Decor"})
TRAITS = ("price_usd", "cuisine", "quality", "lively", "creative")


class GuideLabels(msgspec.Struct, frozen=True):
    """The labels of `datasets/entree_chicago/labels.toml` by what they say, in so far as it can be counted."""

    prices: tuple[str, ...]
    cuisines: tuple[str, ...]
    levels: tuple[str, ...]
    lively: frozenset[str]
    quiet: frozenset[str]
    creative: frozenset[str]
    traditional: frozenset[str]
    invented_names: tuple[str, ...]


@functools.cache
def guide_labels() -> GuideLabels:
    """The labels that mean something here."""
    text = (asset_folder("datasets") / "entree_chicago" / "labels.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), GuideLabels)


def with_traits(restaurants: pd.DataFrame) -> pd.DataFrame:
    """The restaurants with `TRAITS` beside them, float64 each.

    `price_usd` is NaN where no label says it, `cuisine` the place of the first one in the list of cuisines, -1 for
    none; `quality` is the sum of the levels of food, service and decor, `lively` and `creative` how many labels say so
    less those that say the contrary.
    """
    found = np.array([_traits(labels) for labels in restaurants["features"]]).reshape(-1, len(TRAITS))
    return restaurants.assign(**dict(zip(TRAITS, found.T, strict=True)))


def _traits(labels: Sequence[str]) -> tuple[float, ...]:
    known = guide_labels()
    prices = [PRICE_USD[known.prices.index(label)] for label in labels if label in known.prices]
    cuisines = [known.cuisines.index(label) for label in labels if label in known.cuisines]
    graded = [label.rpartition(" ") for label in labels]
    levels = [known.levels.index(word) for word, _, what in graded if what in _GRADED and word in known.levels]
    said = set(labels)
    return (
        prices[0] if prices else np.nan,
        float(cuisines[0]) if cuisines else -1.0,
        float(sum(levels)),
        float(len(said & known.lively) - len(said & known.quiet)),
        float(len(said & known.creative) - len(said & known.traditional)),
    )
