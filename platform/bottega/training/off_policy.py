"""What another policy would have earned, estimated from the log of the one that acted.

A log has, for each decision, the reward that followed and the probability (or density) with which the logging policy
took the action it took. A row's weight is the target policy's probability of that same action over the logging
policy's. Actions may be choices from a list or numbers such as a price: only the ratio enters.

| estimator | takes | right when |
| --- | --- | --- |
| `ips` | rewards, weights | the log's probabilities are the true ones |
| `snips` | the same | the same, in large samples; far less noise, since a reward's offset does not matter |
| `doubly_robust` | and a model of the reward | either the probabilities or the model are right |

None of them sees what the log's actions did to *other* rows: a price that sends a car elsewhere changes the next
rider's wait. Where rows touch each other, a simulator's truth is the judge; `clusters` at least keeps the interval from
pretending that they are independent.

Sources: Horvitz and Thompson (1952); Swaminathan and Joachims, "The self-normalized estimator for counterfactual
learning" (2015); Dudik, Langford and Li, "Doubly robust policy evaluation and learning" (2011).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bottega.errors import InvalidInput

WIDTH = 1.959964  # standard errors on each side of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A policy's value a decision, its 95 % interval, and how much of the log stands behind it.

    `effective_rows` (Kish) is how many rows of equal weight would say as much: far below `rows`, the log says little
    about this policy, however narrow the interval looks. `mean_weight` is near 1 where the log's probabilities are
    those by which it was made; far from 1 they are not, and the value is worth nothing.
    """

    value: float
    low: float
    high: float
    rows: int
    effective_rows: float
    mean_weight: float


def weigh(target: ArrayLike, logged: ArrayLike, *, at_most: float | None = None) -> np.ndarray:
    """How much each logged row counts for the target policy: `target / logged` of the action that was taken.

    `at_most` cuts large weights: less noise, and a value pulled towards the logging policy's.

    >>> weigh([0.5, 0.0], [0.25, 0.75]).tolist()
    [2.0, 0.0]
    """
    numerator, denominator = _column("target", target), _column("logged", logged)
    _match("target", numerator, "logged", denominator)
    if (denominator <= 0).any():
        row = int(np.flatnonzero(denominator <= 0)[0])
        raise InvalidInput(
            f"Row {row} was logged with probability {denominator[row]:g}: an action that was taken has more than 0.",
            next_step="Log the probability that the acting policy gave to the action that it took.",
        )
    if (numerator < 0).any():
        row = int(np.flatnonzero(numerator < 0)[0])
        raise InvalidInput(f"Row {row} has target probability {numerator[row]:g}: probabilities are 0 or more.")
    weights = numerator / denominator
    return weights if at_most is None else np.minimum(weights, at_most)


def uncovered(target: ArrayLike, logged: ArrayLike) -> float:
    """The share of the target's choices that the log can say nothing about, because it never makes them.

    target, logged: probabilities of every action in every row, (rows, actions).

    >>> uncovered([[0.5, 0.5]], [[1.0, 0.0]])
    0.5
    """
    wanted, taken = np.asarray(target, dtype=float), np.asarray(logged, dtype=float)
    _match("target", wanted, "logged", taken)
    return float(np.where(taken > 0, 0.0, wanted).sum() / wanted.sum())


def ips(rewards: ArrayLike, weights: ArrayLike, *, clusters: ArrayLike | None = None) -> Estimate:
    """Inverse propensity scoring: the mean of weight times reward."""
    reward, weight = _rows(rewards, weights)
    return _mean_of(weight * reward, weight, clusters)


def snips(rewards: ArrayLike, weights: ArrayLike, *, clusters: ArrayLike | None = None) -> Estimate:
    """Self-normalised inverse propensity scoring: the weighted mean of the rewards.

    The interval is the delta method's: a ratio of two means is linear near its value.
    """
    reward, weight = _rows(rewards, weights)
    if weight.sum() <= 0:
        raise InvalidInput(
            "All weights are 0: the log never took an action that the target policy would take.",
            next_step="Log some exploration, or judge this policy in the simulator.",
        )
    value = float(weight @ reward / weight.sum())
    return _mean_of(value + weight / weight.mean() * (reward - value), weight, clusters)


def doubly_robust(
    rewards: ArrayLike,
    weights: ArrayLike,
    predicted_logged: ArrayLike,
    predicted_target: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """A model's answer for the target policy, corrected by what the log says about the model's errors.

    predicted_logged: the model's reward for the action that was taken; predicted_target: its mean reward over the
    target's choices. The model must not have learned from the row it predicts (see `fold`), or it explains away the
    errors that the correction needs.
    """
    reward, weight = _rows(rewards, weights)
    at_logged, at_target = _column("predicted_logged", predicted_logged), _column("predicted_target", predicted_target)
    _match("rewards", reward, "predicted_logged", at_logged)
    _match("rewards", reward, "predicted_target", at_target)
    return _mean_of(at_target + weight * (reward - at_logged), weight, clusters)


def fold(rows: int, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, at random and of equal size: learn on the others, predict this one. (rows,) int"""
    if not 2 <= folds <= rows:
        raise InvalidInput(f"{folds} folds of {rows} rows: folds are at least 2 and at most the number of rows.")
    return np.random.default_rng(seed).permutation(rows) % folds


def _mean_of(terms: np.ndarray, weight: np.ndarray, clusters: ArrayLike | None) -> Estimate:
    """The mean of a row's terms, with its standard error from the spread of the rows (or of the clusters' sums)."""
    value, rows = float(terms.mean()), len(terms)
    deviations: np.ndarray = terms - value
    if clusters is not None:
        numbers = np.unique(np.asarray(clusters), return_inverse=True)[1]
        _match("rewards", terms, "clusters", numbers)
        deviations = np.bincount(numbers, weights=deviations)
    groups = len(deviations)
    if groups < 2:
        raise InvalidInput("One row (or cluster) has no spread: an interval needs two or more.")
    error = float(np.sqrt(groups / (groups - 1) * (deviations**2).sum()) / rows)
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0
    return Estimate(value, value - WIDTH * error, value + WIDTH * error, rows, effective, float(weight.mean()))


def _rows(rewards: ArrayLike, weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    reward, weight = _column("rewards", rewards), _column("weights", weights)
    _match("rewards", reward, "weights", weight)
    return reward, weight


def _column(name: str, values: ArrayLike) -> np.ndarray:
    column = np.asarray(values, dtype=float)
    if column.ndim != 1 or len(column) == 0:
        raise InvalidInput(f"{name} has shape {column.shape}: it is one number a row, of at least one row.")
    if not np.isfinite(column).all():
        row = int(np.flatnonzero(~np.isfinite(column))[0])
        raise InvalidInput(f"{name} is {column[row]} in row {row}: every row needs a finite number.")
    return column


def _match(first: str, one: np.ndarray, second: str, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise InvalidInput(f"{first} has shape {one.shape} and {second} {other.shape}: they describe the same rows.")
