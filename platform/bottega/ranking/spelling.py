"""Typos: a word that no place has is read as the nearest ones that some place has.

Distance counts a letter that is missing, extra, wrong, or swapped with its neighbour (optimal string alignment, by
the library rapidfuzz).
"""

from collections.abc import Mapping

import msgspec
from rapidfuzz import process
from rapidfuzz.distance import OSA

READINGS = 3


class Reading(msgspec.Struct, frozen=True):
    """How a typed word is read; `weight` is 1 for the word itself and less the more letters differ."""

    typed: str
    read_as: str
    weight: float


def allowed_typos(word: str) -> int:
    """None in words of up to three letters, where another word is always near; one up to seven; two from there on."""
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def read_word(typed: str, vocabulary: Mapping[str, int]) -> tuple[Reading, ...]:
    """The readings of a word, nearest and most frequent first; none where nothing is near.

    vocabulary: how many places have each word.

    >>> read_word("susih", {"sushi": 9, "such": 2})
    (Reading(typed='susih', read_as='sushi', weight=0.5),)
    """
    if typed in vocabulary:
        return (Reading(typed, typed, 1.0),)
    near = process.extract(typed, list(vocabulary), scorer=OSA.distance, score_cutoff=allowed_typos(typed), limit=None)
    best = sorted(near, key=lambda found: (found[1], found[0][0] != typed[0], -vocabulary[found[0]], found[0]))
    return tuple(Reading(typed, word, 1 / (1 + distance)) for word, distance, _ in best[:READINGS] if distance)
