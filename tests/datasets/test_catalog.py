"""The catalogue declares each dataset; its card exists and names every column."""

from pathlib import Path

import pytest

from bottega.datasets.catalog import catalog, dataset, read_dataset
from bottega.errors import InvalidData, NotFound


@pytest.mark.parametrize("name", ["tlc_green_trips", "taxi_zones", "city_simulator"])
def test_every_dataset_has_a_card_that_names_its_columns(name: str) -> None:
    declared = catalog()[name]
    card = declared.card.read_text("utf-8")
    assert declared.name == name and declared.licence and declared.publisher
    assert all(column.name in card for column in declared.columns)


@pytest.mark.parametrize("name", ["tlc_green_trips", "city_simulator"])
def test_reasons_are_in_declared_order_without_repeats(name: str) -> None:
    reasons = dataset(name).reasons
    assert reasons[:2] == ("wrong_type", "null_pickup_at")
    assert reasons[-2:] == ("unknown_zone", "duplicate")
    assert "null_passengers" not in reasons
    assert len(set(reasons)) == len(reasons)


def test_the_card_of_the_trips_lists_every_reason() -> None:
    card = dataset("tlc_green_trips").card.read_text("utf-8")
    assert all(reason in card for reason in dataset("tlc_green_trips").reasons if not reason.startswith("null_"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"no dataset 'nyc'\. Datasets are city_simulator, .*tlc_green_trips"):
        dataset("nyc")


def test_a_wrong_declaration_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text('name = "x"\ntitle = "X"\nlicence = 3\npublisher = "p"\ncolumns = []\n')
    with pytest.raises(InvalidData, match=r"dataset\.toml is no dataset declaration: .*licence"):
        read_dataset(file)
