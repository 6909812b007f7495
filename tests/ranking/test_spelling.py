from hypothesis import given
from hypothesis import strategies as st

from bottega.ranking.spelling import Reading, allowed_typos, read_word

VOCABULARY = {"sushi": 9, "such": 2, "romantic": 30, "romance": 2, "thai": 5, "taco": 3, "tacos": 8}


def osa(one: str, other: str) -> int:
    """Optimal string alignment, by the table of all prefixes."""
    table = [[i + j if not i or not j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            cost = one[i - 1] != other[j - 1]
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + cost)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


def test_a_known_word_is_read_as_it_stands():
    assert read_word("tacos", VOCABULARY) == (Reading("tacos", "tacos", 1.0),)


def test_swapped_missing_extra_and_wrong_letters_are_one_typo():
    for typed in ("susih", "suhi", "sushhi", "sushy"):
        assert read_word(typed, VOCABULARY)[0] == Reading(typed, "sushi", 0.5)


def test_long_words_may_have_two_short_ones_none():
    assert read_word("romamtik", VOCABULARY) == (Reading("romamtik", "romantic", 1 / 3),)
    assert read_word("tha", VOCABULARY) == ()
    assert read_word("zeppelin", VOCABULARY) == ()


@given(st.text("acosthui", min_size=1, max_size=9))
def test_readings_are_the_words_within_the_allowed_distance(typed):
    found = read_word(typed, VOCABULARY)
    near = {word for word in VOCABULARY if osa(typed, word) <= allowed_typos(typed)}
    assert {reading.read_as for reading in found} <= near | {typed}
    assert bool(found) == bool(near)
    assert all(reading.weight == 1 / (1 + osa(typed, reading.read_as)) for reading in found)
