from pathlib import Path

import pytest

from bottega.datasets.hours import DAYS, on_days, read_span
from bottega.ranking.index import build_index
from bottega.ranking.place import Place
from bottega.ranking.search import SearchIndex


def place(
    number: int, name: str, cuisines: str, features: str, price: int | None = 2, city: str = "mill", **more
) -> Place:
    return Place(
        f"p{number}",
        name,
        city,
        "America/Mexico_City",
        tuple(cuisines.split("|")),
        tuple(features.split("|")),
        price=price,
        **more,
    )


LUNCH = on_days(read_span("12:00-15:00"), DAYS)
LATE = on_days(read_span("20:00-02:00"), ["Fri", "Sat"])


@pytest.fixture(scope="session")
def places() -> list[Place]:
    found = [
        place(0, "Tanner's", "Mexican", "Margaritas|Dancing", 1, hours=LATE),
        place(1, "El Rinc�n", "Mexican", "Margaritas|Parking", 1, hours=LUNCH),
        place(2, "Café Osaka", "Japanese", "Sushi bar|Quiet", 3),
        place(3, "Sushi Zen", "Japanese", "Romantic|Quiet", 3, "quay", hours=LATE),
        place(4, "The Lantern", "Italian", "Romantic|Fireplace", 2, hours=LUNCH),
        place(5, "Trattoria Uno", "Italian|Pizza", "Children|Parking", None),
    ]
    # More of each kind, so that words have company: margaritas are Mexican, sushi Japanese, romance has a fireplace.
    for number in range(6, 36):
        kind = number % 3
        found.append(
            (
                place(number, f"Cantina {number}", "Mexican", "Margaritas|Dancing", 1),
                place(number, f"House {number}", "Japanese", "Sushi bar|Quiet", 3, "quay"),
                place(number, f"Osteria {number}", "Italian", "Romantic|Fireplace", 2),
            )[kind]
        )
    return found


@pytest.fixture(scope="session")
def folder(places, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "index"
    build_index(places, folder, data_source="test", fingerprint="f", dimensions=8)
    return folder


@pytest.fixture(scope="session")
def index(folder) -> SearchIndex:
    from bottega.ranking.index import open_index

    return open_index(folder)
