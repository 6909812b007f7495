import pandas as pd
import pytest

from bottega.errors import InvalidInput, NotFound
from bottega.ranking.guide import guide_places, read_labels
from bottega.ranking.sources import ready_index
from bottega.ranking.wishes import Wishes
from bottega.settings import Settings
from bottega.workspace import Workspace

ROWS = [
    ("chicago", 0, "Tanner's", ["Italian", "below $15", "Romantic", "Steakhouses"]),
    ("chicago", 1, "Sushi Zen", ["Japanese", "$30-$50", "Quiet for Conversation"]),
    ("new_york", 0, "Luigi", ["Italian", "over $50"]),
    ("new_york", 1, "Luigi", ["Italian", "N"]),
]


def restaurants(rows=ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["city", "restaurant_id", "name", "features"])


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    found = Workspace.open(tmp_path / "w")
    (found.data / "entree_chicago").mkdir(parents=True)
    restaurants().to_parquet(found.data / "entree_chicago" / "restaurants.parquet")
    return found


def test_labels_become_cuisines_a_price_and_features():
    place = guide_places(restaurants(), read_labels())[0]
    assert (place.id, place.price, place.city) == ("chicago/0", 1, "chicago")
    assert place.cuisines == ("Italian", "Steakhouses")
    assert place.features == ("below $15", "Romantic")
    assert "cheap inexpensive budget" in place.also
    assert guide_places(restaurants(), read_labels())[3].price is None


def test_an_index_is_kept_until_its_files_change(workspace):
    first = ready_index("entree_chicago", workspace, Settings())
    assert first.search(Wishes("cheap italian")).hits[0].place.id == "chicago/0"
    marker = workspace.search / "entree_chicago" / "kept"
    marker.touch()
    ready_index(None, workspace, Settings())
    assert marker.exists()
    restaurants(ROWS[:2]).to_parquet(workspace.data / "entree_chicago" / "restaurants.parquet")
    assert len(ready_index("entree_chicago", workspace, Settings()).places) == 2
    assert not marker.exists()
    assert [path.name for path in workspace.search.iterdir()] == ["entree_chicago"]


def test_filters_of_the_source(workspace):
    index = ready_index("entree_chicago", workspace, Settings())
    assert index.search(Wishes("", city="New York")).found == 2
    assert index.search(Wishes("", prices=(4,))).hits[0].place.id == "new_york/0"
    with pytest.raises(InvalidInput, match="No place has the cuisine 'Thai'"):
        index.search(Wishes("", cuisines=("Thai",)))


def test_sources_that_are_not_here(workspace):
    with pytest.raises(NotFound, match="Sources are"):
        ready_index("yelp", workspace, Settings())
    with pytest.raises(NotFound, match="uci_restaurant"):
        ready_index("uci_restaurant", workspace, Settings())
