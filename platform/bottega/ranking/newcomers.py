"""Newcomers: guests whom nobody knows yet and places that nobody has rated, ranked by what they say of themselves.

Every guess is made by a model that has never seen the newcomer: guests (or places, or both) are dealt into folds, and a
fold is guessed by a model of the others. The question is always the same: is that better than popularity?

Only guesses of one model are compared with each other. Across folds that would be wrong: a model that has not seen a
bad rating thinks better of its guest than one that has, so guesses would run against the ratings by construction.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from bottega.datasets.diners import Diners
from bottega.errors import InvalidInput
from bottega.progress import Progress, silent
from bottega.ranking.attributes import Attributes, encode
from bottega.training.off_policy import fold

Task = Literal["new guests", "new places"]
TASKS: tuple[Task, ...] = ("new guests", "new places")
METHODS = ("chance", "popularity", "attributes", "both")
FOLDS = MappingProxyType({"new guests": 5, "new places": 2})
"""Half of the places are new at once, so that a guest's list of new ones is long enough to be ordered."""
DEPTH, SHRINKAGE = 5, 3.0
_BOOSTING = {
    "objective": "reg:squarederror", "max_depth": 3, "eta": 0.05, "subsample": 0.7, "colsample_bytree": 0.5,
    "min_child_weight": 5, "lambda": 5.0, "nthread": 1, "verbosity": 0,
}  # fmt: skip
_ROUNDS = 120


@dataclass(frozen=True)
class Ratings:
    """Who rated which place how: rows of the tables of users and places, 0 to 2; all (ratings,)."""

    user: np.ndarray
    place: np.ndarray
    value: np.ndarray


def ratings_of(diners: Diners) -> Ratings:
    """The ratings with guests and places as row numbers."""
    users, places = (
        {name: row for row, name in enumerate(table)} for table in (diners.users["user_id"], diners.places["place_id"])
    )
    rows = diners.ratings
    user = np.array([users[name] for name in rows["user_id"]], int)
    place = np.array([places[name] for name in rows["place_id"]], int)
    return Ratings(user, place, rows["rating"].to_numpy(float))


@dataclass(frozen=True)
class Guesses:
    """By method a score for each rating, and the list that it belongs to: one guest's places of one fold."""

    scores: dict[str, np.ndarray]
    lists: np.ndarray  # (ratings,) int64


def guess(ratings: Ratings, attributes: Attributes, task: Task, seed: int) -> Guesses:
    """Score each rating by models that never saw its guest (or its place).

    For new places nobody's ratings are there to count: `popularity` is then the mean of the guest's other ratings,
    which says nothing of which place is better.
    """
    newcomer, known = (ratings.user, ratings.place) if task == "new guests" else (ratings.place, ratings.user)
    folds = FOLDS[task]
    which = fold(int(newcomer.max()) + 1, folds, seed)[newcomer]
    found = {method: np.empty(len(which)) for method in METHODS}
    found["chance"] = np.random.default_rng(seed).random(len(which))
    table = attributes.matrix(ratings.user, ratings.place)
    for number in range(folds):
        learn, new = which != number, which == number
        target, mean = ratings.value[learn], ratings.value[learn].mean()
        popular = _leave_one_out(known[learn], target, mean)
        asked = shrunk_means(known[learn], target, mean, int(known.max()) + 1)[known[new]]
        found["popularity"][new] = asked
        found["attributes"][new] = _boost(table[learn], target, table[new], seed)
        both = np.column_stack([table[learn], popular]), np.column_stack([table[new], asked])
        found["both"][new] = _boost(both[0], target, both[1], seed)
    return Guesses(found, ratings.user * folds + which)


def _boost(table: np.ndarray, target: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    import xgboost

    model = xgboost.train({**_BOOSTING, "seed": seed}, xgboost.DMatrix(table, target), _ROUNDS)
    return model.predict(xgboost.DMatrix(asked))


def shrunk_means(group: np.ndarray, value: np.ndarray, mean: float, size: int) -> np.ndarray:
    """The mean of each group, drawn to the overall mean by `SHRINKAGE` ratings: (size,)."""
    total, count = np.bincount(group, value, size), np.bincount(group, minlength=size)
    return (total + SHRINKAGE * mean) / (count + SHRINKAGE)


def _leave_one_out(group: np.ndarray, value: np.ndarray, mean: float) -> np.ndarray:
    """The shrunk mean of each row's group without the row itself: what a model may learn from."""
    total, count = np.bincount(group, value)[group], np.bincount(group)[group]
    return (total - value + SHRINKAGE * mean) / (count - 1 + SHRINKAGE)


def gains(value: np.ndarray, scores: np.ndarray, lists: np.ndarray, depth: int = DEPTH) -> dict[int, float]:
    """nDCG of each list in the order of the scores, by list; one whose ratings are all alike has none.

    value, scores, lists: (ratings,). Ties in the scores count as their mean over every order.
    """
    found: dict[int, float] = {}
    for number in np.unique(lists):
        mine = lists == number
        if np.ptp(value[mine]) > 0:
            best = _discounted(np.sort(2 ** value[mine] - 1)[::-1], depth)
            found[int(number)] = _discounted(_tie_averaged(value[mine], scores[mine]), depth) / best
    return found


def _tie_averaged(value: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The gains (2 to the rating, minus 1) in falling order of score, tied ones replaced by their mean."""
    order = np.argsort(-score, kind="stable")
    _, group = np.unique(-score[order], return_inverse=True)
    gain = 2 ** value[order] - 1
    return (np.bincount(group, gain) / np.bincount(group))[group]


def _discounted(gain: np.ndarray, depth: int) -> float:
    return float((gain[:depth] / np.log2(np.arange(2, min(depth, len(gain)) + 2))).sum())


def ordered_pairs(value: np.ndarray, scores: np.ndarray, lists: np.ndarray) -> float:
    """Of all pairs of a list that are rated differently, the share in the right order (ties half): AUC by list."""
    right = pairs = 0.0
    for number in np.unique(lists):
        mine = lists == number
        better = value[mine][:, None] > value[mine][None]
        apart = scores[mine][:, None] - scores[mine][None]
        right += (better & (apart > 0)).sum() + 0.5 * (better & (apart == 0)).sum()
        pairs += better.sum()
    return float(right / pairs)


def compare(
    diners: Diners, seeds: Sequence[int], progress: Progress = silent
) -> dict[str, dict[str, dict[str, float]]]:
    """task -> method -> figures over the seeds: ndcg_at_5 and auc with their spread, and the gain over popularity.

    `gain` is the mean difference of nDCG to popularity over seeds and guests; `low` and `high` are a 95 % interval
    from 2,000 draws of guests. Where it holds 0, the method is no better than popularity.
    """
    if not seeds:
        raise InvalidInput("There is no seed.", next_step="Give one or more.")
    attributes, ratings = encode(diners), ratings_of(diners)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for done, task in enumerate(TASKS):
        rounds = []
        for number, seed in enumerate(seeds):
            rounds.append(guess(ratings, attributes, task, seed))
            progress("newcomers", done * len(seeds) + number + 1, len(TASKS) * len(seeds))
        figures[task] = {method: _figures(ratings.value, rounds, method, FOLDS[task]) for method in METHODS}
    return figures


def _figures(value: np.ndarray, rounds: Sequence[Guesses], method: str, folds: int) -> dict[str, float]:
    ndcg, auc, by_guest = [], [], defaultdict(list)
    for guesses in rounds:
        found = gains(value, guesses.scores[method], guesses.lists)
        popular = gains(value, guesses.scores["popularity"], guesses.lists)
        ndcg.append(np.mean(list(found.values())))
        auc.append(ordered_pairs(value, guesses.scores[method], guesses.lists))
        for number, gain in found.items():
            by_guest[number // folds].append(gain - popular[number])
    differences = np.array([np.mean(mine) for mine in by_guest.values()])
    drawn = np.random.default_rng(0).choice(differences, (2000, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "ndcg_at_5": float(np.mean(ndcg)), "ndcg_at_5_sd": float(np.std(ndcg)),
        "auc": float(np.mean(auc)), "auc_sd": float(np.std(auc)),
        "gain": float(differences.mean()), "low": float(low), "high": float(high),
    }  # fmt: skip
