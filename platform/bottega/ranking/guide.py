"""Places of a restaurant guide: labels become cuisines, a price band, and the rest."""

import tomllib
from pathlib import Path

import msgspec
import pandas as pd

from bottega.ranking.place import Place
from bottega.settings import asset_folder

DATASET = "entree_chicago"
TIMEZONES = {
    "chicago": "America/Chicago",
    "new_orleans": "America/Chicago",
    "los_angeles": "America/Los_Angeles",
    "san_francisco": "America/Los_Angeles",
}
_EASTERN = "America/New_York"


class Labels(msgspec.Struct, frozen=True):
    """What the guide's labels mean; `prices` from the cheapest band to the dearest, `also` by label."""

    prices: tuple[str, ...]
    cuisines: frozenset[str]
    also: dict[str, str]


def read_labels(file: Path | None = None) -> Labels:
    """The meaning of the labels, from the dataset's `labels.toml`."""
    path = file or asset_folder("datasets") / DATASET / "labels.toml"
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Labels)


def guide_places(restaurants: pd.DataFrame, labels: Labels) -> list[Place]:
    """Places from a table with city, restaurant_id, name and features (lists of labels); the guide knows no hours."""
    return [
        _place(str(row.city), str(row.restaurant_id), str(row.name), tuple(row.features), labels)
        for row in restaurants.itertuples(index=False)
    ]


def _place(city: str, number: str, name: str, said: tuple[str, ...], labels: Labels) -> Place:
    bands = [labels.prices.index(label) + 1 for label in said if label in labels.prices]
    return Place(
        id=f"{city}/{number}",
        name=name,
        city=city.replace("_", " "),
        timezone=TIMEZONES.get(city, _EASTERN),
        cuisines=tuple(sorted({label for label in said if label in labels.cuisines})),
        features=tuple(label for label in said if label not in labels.cuisines),
        also=tuple(labels.also[label] for label in said if label in labels.also),
        price=bands[0] if bands else None,
    )
