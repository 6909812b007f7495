import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from bottega.datasets.diners import Diners
from bottega.errors import InvalidInput, NotFound
from bottega.ranking.attributes import GUEST, PLACE, encode
from bottega.ranking.first_visit import suggest
from bottega.ranking.newcomers import compare, gains, guess, ordered_pairs, ratings_of

GUESTS, PLACES = 80, 40


def invent(taste: float, renown: float, seed: int = 0) -> Diners:
    """Guests who rate by whether a place serves what they like (`taste`) and how good it is for all (`renown`)."""
    rng = np.random.default_rng(seed)
    likes, serves = rng.integers(0, 2, GUESTS), rng.integers(0, 2, PLACES)
    kinds = np.array(["Mexican", "Sushi"])
    users = pd.DataFrame(dict.fromkeys(GUEST, "x"), index=range(GUESTS)).assign(
        user_id=[f"U{n:03}" for n in range(GUESTS)],
        latitude=22.0 + rng.normal(0, 0.01, GUESTS),
        longitude=-101.0,
        birth_year=1990,
        budget="low",
        cuisines=[[str(kinds[kind])] for kind in likes],
        payments=[["cash"]] * GUESTS,
    )
    places = pd.DataFrame(dict.fromkeys(PLACE, "x"), index=range(PLACES)).assign(
        place_id=range(PLACES),
        name=[f"place {n}" for n in range(PLACES)],
        latitude=22.0 + rng.normal(0, 0.01, PLACES),
        longitude=-101.0,
        price=rng.choice(["low", "high"], PLACES),
        cuisines=[[str(kinds[kind])] for kind in serves],
        payments=[["cash"]] * PLACES,
    )
    quality = rng.normal(0, 1, PLACES)
    pairs = np.array([(u, p) for u in range(GUESTS) for p in rng.choice(PLACES, 10, replace=False)])
    u, p = pairs.T
    worth = taste * (likes[u] == serves[p]) + renown * quality[p] + rng.normal(0, 0.7, len(u))
    rating = np.digitize(worth, np.quantile(worth, [1 / 3, 2 / 3]))
    ratings = pd.DataFrame({"user_id": users["user_id"].to_numpy()[u], "place_id": p, "rating": rating})
    return Diners(places, users, ratings, {}, {})


def test_where_taste_decides_attributes_beat_popularity_for_both_kinds_of_newcomers():
    found = compare(invent(taste=2.0, renown=0.0), seeds=[0, 1])
    for task in ("new guests", "new places"):
        assert found[task]["attributes"]["low"] > 0.05
        assert found[task]["attributes"]["auc"] > 0.7 > 0.56 > found[task]["popularity"]["auc"]


def test_where_renown_decides_popularity_beats_attributes_and_new_places_cannot_be_told_apart():
    found = compare(invent(taste=0.0, renown=1.5), seeds=[0, 1])
    assert found["new guests"]["attributes"]["high"] < 0
    assert found["new guests"]["popularity"]["auc"] > 0.75
    assert found["new places"]["popularity"]["auc"] == 0.5
    assert abs(found["new places"]["attributes"]["auc"] - 0.5) < 0.08


def test_where_nothing_decides_nothing_is_better():
    found = compare(invent(taste=0.0, renown=0.0), seeds=[0, 1])
    for task in ("new guests", "new places"):
        for method in ("attributes", "both", "chance"):
            assert found[task][method]["low"] < 0.02
            assert abs(found[task][method]["auc"] - 0.5) < 0.06


@pytest.mark.parametrize(("task", "mine"), [("new guests", "user"), ("new places", "place")])
def test_a_guess_does_not_depend_on_the_newcomer_s_own_ratings(task, mine):
    diners = invent(2.0, 1.0)
    attributes, ratings = encode(diners), ratings_of(diners)
    rows = getattr(ratings, mine) == 3
    ratings.value[rows] = 2 - ratings.value[rows]
    turned = guess(ratings, attributes, task, seed=1)
    ratings.value[rows] = 2 - ratings.value[rows]
    straight = guess(ratings, attributes, task, seed=1)
    for method in ("popularity", "attributes", "both"):
        assert (turned.scores[method][rows] == straight.scores[method][rows]).all()
        assert method == "popularity" or (turned.scores[method] != straight.scores[method]).any()
    assert (straight.scores["chance"] == turned.scores["chance"]).all()


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    value, scores, lists = rng.integers(0, 3, 60).astype(float), rng.integers(0, 4, 60) / 4, np.repeat(np.arange(6), 10)
    found = gains(value, scores, lists)
    for number in range(6):
        mine = lists == number
        assert found[number] == pytest.approx(ndcg_score([2 ** value[mine] - 1], [scores[mine]], k=5))
    binary = (value > 1).astype(float)
    one = np.zeros(60, int)
    assert ordered_pairs(binary, scores, one) == pytest.approx(roc_auc_score(binary, scores))


def test_a_list_of_equal_ratings_says_nothing():
    assert gains(np.array([2.0, 2.0, 1.0, 2.0]), np.arange(4.0), np.array([0, 0, 1, 1])) == {1: 1.0}


def test_how_guests_and_places_fit():
    diners = invent(1.0, 1.0)
    diners.users.at[0, "cuisines"] = None
    fits = encode(diners).fits
    assert np.isnan(fits["shares_cuisine"][0]).all()
    assert set(np.unique(fits["shares_cuisine"][1])) == {0.0, 1.0}
    assert fits["price_over_budget"][1].tolist() == [0.0 if p == "low" else 2.0 for p in diners.places["price"]]
    north = abs(diners.users["latitude"][5] - diners.places["latitude"][7]) * 111.195
    assert fits["km"][5, 7] == pytest.approx(north, rel=1e-4)


def test_the_first_visit_is_to_what_others_like_within_reach():
    diners = invent(0.0, 1.5)
    found = suggest(diners, "U003", limit=5, reach_km=2.0)
    assert [one.rating for one in found] == sorted((one.rating for one in found), reverse=True)
    assert all(one.km <= 2.0 for one in found)
    assert all(f"{one.ratings} guests rated it" in one.reasons for one in found)
    own = diners.ratings["user_id"] == "U003"
    without = Diners(diners.places, diners.users, diners.ratings[~own], {}, {})
    assert suggest(without, "U003", limit=5, reach_km=2.0) == found
    with pytest.raises(NotFound, match="no guest 'nobody'"):
        suggest(diners, "nobody")
    with pytest.raises(NotFound, match="Reach further"):
        suggest(diners, "U003", reach_km=1e-6)
    with pytest.raises(InvalidInput, match="limit is 0"):
        suggest(diners, "U003", limit=0)


def test_seeds_are_needed():
    with pytest.raises(InvalidInput, match="no seed"):
        compare(invent(1.0, 1.0), [])
