"""How well search finds what is known to be there: queries made from the places themselves, answers known.

| kind | the text | the answers |
| --- | --- | --- |
| labels | a cuisine and one or two features of some place | every place that has all of them |
| name | a place's name and city | the places of that name there |
| typos | one of the above with one letter wrong in each of its longer words | the same |
| hidden | a cuisine's name | places of that cuisine from which it was struck out before the index was built |

The first two favour words, since the answers are defined by words; only `hidden` asks for meaning. Nobody's clicks are
in it: it says whether search finds what it is asked for, not whether people like what it finds.
"""

import dataclasses
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bottega.ranking.fusion import best_first
from bottega.ranking.index import build_index
from bottega.ranking.place import Place
from bottega.ranking.search import SearchIndex

KINDS = ("labels", "name", "typos", "hidden")
METHODS = ("as typed", "words", "meaning", "fused")
"""`as typed` is `words` without the correction of typos."""
DEPTH = 10
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Query:
    """A text with its known answers; places in `aside` are taken out of the ranking (they are no test of it)."""

    kind: Literal["labels", "name", "typos", "hidden"]
    text: str
    answers: frozenset[int]
    aside: frozenset[int] = frozenset()


def write_queries(places: Sequence[Place], each: int, seed: int) -> list[Query]:
    """`each` queries of labels, of names, and of both with typos."""
    rng = random.Random(seed)
    having: defaultdict[str, set[int]] = defaultdict(set)
    named: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for row, place in enumerate(places):
        for label in place.labels:
            having[label].add(row)
        named[place.name, place.city].add(row)
    queries: list[Query] = []
    while len(queries) < each:
        place = rng.choice(places)
        features = [feature for feature in place.features if not any(letter.isdigit() for letter in feature)]
        if place.cuisines and len(features) > 1:
            chosen = [rng.choice(place.cuisines), *rng.sample(features, rng.choice((1, 2)))]
            answers = set.intersection(*(having[label] for label in chosen))
            queries.append(Query("labels", " ".join(chosen).lower(), frozenset(answers)))
    for place in rng.sample(places, min(each, len(places))):
        text = f"{place.name} {place.city}".lower()
        queries.append(Query("name", text, frozenset(named[place.name, place.city])))
    spoilt = [Query("typos", misspell(query.text, rng), query.answers) for query in rng.sample(queries, each)]
    return queries + spoilt


def misspell(text: str, rng: random.Random) -> str:
    """One letter dropped, doubled, replaced or swapped with the next in each word of five letters or more.

    >>> misspell("sushi bar", random.Random(1))
    'sshi bar'
    """
    return " ".join(_misspell_word(word, rng) if len(word) >= 5 and word.isalpha() else word for word in text.split())


def _misspell_word(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    changed = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + rng.choice(_LETTERS) + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    return rng.choice(changed)


def hide_cuisines(places: Sequence[Place], seed: int, at_least: int = 40) -> tuple[list[Place], list[Query]]:
    """Places with a cuisine struck out of half of those that have it, and a query for each such cuisine."""
    rng = random.Random(seed)
    having: defaultdict[str, list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        for cuisine in place.cuisines:
            having[cuisine].append(row)
    hidden = {c: frozenset(rng.sample(rows, len(rows) // 2)) for c, rows in having.items() if len(rows) >= at_least}
    kept = [
        msgspec.structs.replace(place, cuisines=tuple(c for c in place.cuisines if row not in hidden.get(c, ())))
        for row, place in enumerate(places)
    ]
    queries = [
        Query("hidden", cuisine.lower(), rows, frozenset(having[cuisine]) - rows) for cuisine, rows in hidden.items()
    ]
    return kept, queries


def measure(index: SearchIndex, each: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of an index on its own places, and of one built for the `hidden` queries; see `judge`."""
    kept, hidden = hide_cuisines(index.places, seed)
    figures = judge(index, write_queries(index.places, each, seed))
    if hidden:
        with tempfile.TemporaryDirectory() as scratch:
            figures |= judge(build_index(kept, Path(scratch) / "hidden"), hidden)
    return figures


def judge(index: SearchIndex, queries: Iterable[Query]) -> dict[str, dict[str, dict[str, float]]]:
    """kind -> method -> figures: queries, ndcg_at_10, recall_at_10 (of at most ten answers), the mean over queries."""
    found: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for query in queries:
        for method, ranking in rank(index, query.text).items():
            top = [row for row in ranking.tolist() if row not in query.aside][:DEPTH]
            found[query.kind, method].append(gain(top, query.answers))
    figures: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (kind, method), scores in found.items():
        ndcg, recall = np.mean(scores, axis=0)
        figures[kind][method] = {"queries": len(scores), "ndcg_at_10": float(ndcg), "recall_at_10": float(recall)}
    return dict(figures)


def rank(index: SearchIndex, text: str) -> Mapping[str, np.ndarray]:
    """By method, the numbers of the places found, best first."""
    scores = index.score(text)
    rankings = scores.rankings(np.ones(len(index.places), bool))
    meaning = rankings[1] if scores.likeness is None else best_first(scores.likeness)
    typed = {key: points for key, points in scores.points.items() if key[0].weight == 1}
    as_typed = dataclasses.replace(scores, points=typed).by_words
    found = (best_first(as_typed), rankings[0], meaning, best_first(scores.fused(rankings)))
    return dict(zip(METHODS, found, strict=True))


def gain(top: Sequence[int], answers: frozenset[int]) -> tuple[float, float]:
    """Normalised discounted cumulative gain and recall of the first ten, of answers that are all alike.

    >>> gain([7, 3], frozenset({7}))
    (1.0, 1.0)
    """
    discount = 1 / np.log2(np.arange(2, DEPTH + 2))
    hits = np.array([row in answers for row in top], bool)
    possible = min(len(answers), DEPTH)
    return float(discount[: len(hits)][hits].sum() / discount[:possible].sum()), float(hits.sum() / possible)
