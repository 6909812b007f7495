import random

import pytest
from rapidfuzz.distance import OSA

from bottega.ranking.search_quality import gain, hide_cuisines, measure, misspell, write_queries


def test_answers_are_the_places_that_have_all_the_labels(places):
    for query in write_queries(places, 20, seed=1):
        assert query.answers
        if query.kind == "labels":
            for row in query.answers:
                said = " ".join(places[row].labels).lower()
                assert all(word in said for word in query.text.split())


def test_typos_change_one_letter_of_long_words_only():
    rng = random.Random(3)
    for _ in range(50):
        one, two = misspell("romantic bar", rng).split()
        assert (OSA.distance(one, "romantic") <= 1, two) == (True, "bar")


def test_hidden_cuisines_are_hidden_from_half_and_asked_for(places):
    kept, queries = hide_cuisines(places, seed=1, at_least=10)
    assert {query.text for query in queries} == {"mexican", "japanese", "italian"}
    for query in queries:
        having = {row for row, place in enumerate(places) if query.text in map(str.lower, place.cuisines)}
        assert query.answers | query.aside == having
        assert not any(query.text in map(str.lower, kept[row].cuisines) for row in query.answers)
        assert all(query.text in map(str.lower, kept[row].cuisines) for row in query.aside)


def test_gain_by_hand():
    assert gain([5, 1, 2], frozenset({1, 2, 9})) == pytest.approx(
        ((1 / 1.584963 + 1 / 2) / (1 + 1 / 1.584963 + 1 / 2), 2 / 3), rel=1e-5
    )
    assert gain([], frozenset({1})) == (0.0, 0.0)
    assert gain(list(range(10)), frozenset(range(40))) == (1.0, 1.0)


def test_names_are_found_and_the_same_seed_gives_the_same_figures(index):
    figures = measure(index, 20, seed=4)
    assert figures["name"]["words"]["ndcg_at_10"] > 0.95
    assert figures == measure(index, 20, seed=4)
