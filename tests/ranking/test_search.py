from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.datasets.hours import open_at
from bottega.errors import InvalidInput
from bottega.ranking.place import PRICES
from bottega.ranking.wishes import Wishes, parse_moment, parse_price

FRIDAY_NIGHT = datetime.fromisoformat("2024-01-06T01:30")  # early on Saturday, on each place's own clock


def names(answer) -> list[str]:
    return [hit.place.name for hit in answer.hits]


def test_the_place_of_a_name_comes_first_with_and_without_its_apostrophe(index):
    for text in ("tanner's", "Tanners", "tannerz"):
        assert names(index.search(Wishes(text)))[0] == "Tanner's"


def test_accents_and_lost_letters_do_not_matter(index):
    assert names(index.search(Wishes("cafe osaka")))[0] == "Café Osaka"
    assert names(index.search(Wishes("rincon")))[0] == "El Rinc�n"


def test_meaning_finds_what_no_word_says_and_names_the_labels(index):
    hits = index.search(Wishes("sushi", limit=20)).hits
    assert hits[0].why.matches
    assert all("Japanese" in hit.place.cuisines for hit in hits)
    (silent,) = (hit for hit in index.search(Wishes("fireplace", cuisines=("Pizza",))).hits)
    assert silent.why.matches == ()
    assert silent.why.likeness > 0.3
    assert silent.why.near == ("Italian",)


def test_a_place_with_both_words_comes_before_those_with_one(index):
    hits = index.search(Wishes("romantic japanese")).hits
    assert hits[0].place.name == "Sushi Zen"
    assert {match.word for match in hits[0].why.matches} == {"romantic", "japanese"}


def test_filters_leave_out_exactly_what_does_not_pass(index, places):
    wishes = Wishes("", cuisines=("italian", "PIZZA"), prices=(2,), city="Mill", limit=100)
    wanted = {p.id for p in places if set(p.cuisines) & {"Italian", "Pizza"} and p.price == 2 and p.city == "mill"}
    answer = index.search(wishes)
    assert {hit.place.id for hit in answer.hits} == wanted
    assert answer.found == len(wanted)


def test_open_places_are_open_on_their_own_clock_past_midnight_too(index):
    answer = index.search(Wishes("", open_at=FRIDAY_NIGHT, limit=100))
    assert sorted(names(answer)) == ["Sushi Zen", "Tanner's"]
    assert all(hit.open for hit in answer.hits)
    aware = FRIDAY_NIGHT.replace(tzinfo=ZoneInfo("America/Mexico_City")).astimezone(ZoneInfo("Asia/Tokyo"))
    assert names(index.search(Wishes("", open_at=aware, limit=100))) == names(answer)
    assert answer.unknown_hours == 32


def test_facets_count_what_each_choice_would_leave(index, places):
    wishes = Wishes("", prices=(3,), open_at=FRIDAY_NIGHT)
    facets = index.search(wishes).facets
    is_open = [p for p in places if p.hours and open_at(p.hours, FRIDAY_NIGHT, p.timezone)]
    for band, price in zip(PRICES, range(1, 5), strict=True):  # its own filter is set aside
        assert facets["price"].get(band, 0) == sum(p.price == price for p in is_open)
    for cuisine in ("Japanese", "Mexican"):
        assert facets["cuisine"].get(cuisine, 0) == sum(cuisine in p.cuisines and p.price == 3 for p in is_open)
    for cuisine, count in index.search(Wishes("margaritas")).facets["cuisine"].items():
        left = index.search(Wishes("margaritas", cuisines=(cuisine,), limit=100))
        assert left.found == count


WORDS = st.sampled_from(
    ["sushi", "romantik", "quiet", "margaritas", "italian", "tanners", "zzzz", "parking", "mill", "寿"]
)


@given(st.lists(WORDS, min_size=1, max_size=4), st.sets(st.integers(1, 4)), st.sampled_from(["", "mill", "quay"]))
def test_a_facet_s_count_is_what_choosing_it_leaves(index, said, prices, city):
    wishes = Wishes(" ".join(said), prices=tuple(prices), city=city, limit=100)
    answer = index.search(wishes)
    for cuisine in ("Japanese", "Italian", "Pizza", "Mexican"):
        left = index.search(msgspec.structs.replace(wishes, cuisines=(cuisine,)))
        assert left.found == answer.facets["cuisine"].get(cuisine, 0)
    for price, band in enumerate(PRICES, 1):
        left = index.search(msgspec.structs.replace(wishes, prices=(price,)))
        assert left.found == answer.facets["price"].get(band, 0)


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(index, text):
    answer = index.search(Wishes(text, city="mill"))
    assert len(answer.hits) == min(answer.found, 10)
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)


def test_corrections_are_told(index):
    assert index.search(Wishes("romantik")).corrections == {"romantik": ("romantic",)}
    assert index.search(Wishes("romantic")).corrections == {}


def test_points_add_up_from_the_best_field_of_each_word(index):
    hit = index.search(Wishes("sushi quiet")).hits[0]
    scores = index.score("sushi quiet")
    row = index.places.index(hit.place)
    best = {}
    for match in hit.why.matches:
        best[match.word] = max(best.get(match.word, 0.0), match.points)
    assert scores.by_words[row] == pytest.approx(sum(best.values()) * (len(best) / 2) ** 4)


def test_nonsense_finds_nothing(index):
    answer = index.search(Wishes("qqqqqq xxxxxx"))
    assert (answer.hits, answer.found, answer.facets["cuisine"]) == ((), 0, {})
    assert index.search(Wishes("...!? 寿")).found == 0


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        (Wishes(), "nothing to search for"),
        (Wishes("   "), "nothing to search for"),
        (Wishes("x" * 201), "at most 200"),
        (Wishes("a", limit=0), "limit is 0"),
        (Wishes("a", prices=(5,)), "price is 5"),
        (Wishes("a", cuisines=("Italien",)), "Near it: Italian"),
        (Wishes("a", city="atlantis"), "No place has the city 'atlantis'"),
    ],
)
def test_wishes_that_cannot_be_meant_are_refused(index, wishes, says):
    with pytest.raises(InvalidInput, match=says):
        index.search(wishes)


def test_prices_and_moments_as_people_write_them():
    assert (parse_price("$$$"), parse_price("1")) == (3, 1)
    for text in ("5", "cheap", ""):
        with pytest.raises(InvalidInput, match="no price"):
            parse_price(text)
    assert parse_moment("now", FRIDAY_NIGHT) == FRIDAY_NIGHT
    assert parse_moment("2024-01-07T09:00+01:00", FRIDAY_NIGHT).isoformat() == "2024-01-07T09:00:00+01:00"
    with pytest.raises(InvalidInput, match="no time"):
        parse_moment("tonight", FRIDAY_NIGHT)
