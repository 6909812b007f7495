"""What the log of one policy says about others, beside the truth: naive, by a model, by weights, and by both.

The log is the house rule's, which offers comfort to those who go to the airport and economy to nearly everybody else.
The naive figure of another policy is the share of taken offers among the logged ones that it would have made too. Those
offers were made to the people for whom the rule made them, not to the people for whom the other policy would.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bottega.datasets.riders import FEATURES, PRODUCTS, Requests, draw_moods, draw_requests, draw_riders
from bottega.errors import InvalidInput
from bottega.progress import Progress, silent
from bottega.ranking.bandits import HouseRule, Ranker, draw_choices
from bottega.training.off_policy import Estimate, doubly_robust, fold, ips, snips, weigh

ESTIMATORS = ("naive", "model", "ips", "snips", "doubly robust")
FOLDS = 3
Target = Callable[[np.ndarray], np.ndarray]
"""Features (requests, features) to the probabilities of the offers (requests, products)."""


@dataclass(frozen=True)
class Log:
    """Offers as they are logged: what was known, what was offered with which probability, whether it was taken."""

    features: np.ndarray  # (rows, features)
    offered: np.ndarray  # (rows,)
    probability: np.ndarray  # (rows,)
    taken: np.ndarray  # (rows,)


@dataclass(frozen=True)
class Score:
    """How an estimator does over many logs: mean estimate and truth, error, and how often its 95 % interval holds."""

    estimate: float
    truth: float
    bias: float
    rmse: float
    coverage: float | None
    """None where the estimator has no interval."""
    mean_weight: float | None
    """Far from 1: the log's probabilities are not those by which it was made. None for an estimator without weights."""


def write_log(requests: Requests, rule: HouseRule, seed: int, hidden: float = 0.0) -> Log:
    """The log of the house rule on these requests.

    A share `hidden` of the offers is made by somebody who knows the riders' tastes, and logged as if the rule had made
    them. Nothing in the log shows it, and no estimator can put it right.
    """
    rng = np.random.default_rng([seed, 25])
    offers = rule.probabilities(requests.features)
    offered = draw_choices(offers, rng)
    offered = np.where(rng.random(len(offered)) < hidden, requests.truth.argmax(axis=1), offered)
    taken = (draw_moods(len(requests), seed) < requests.of(offered)).astype(float)
    return Log(requests.features, offered, offers[np.arange(len(requests)), offered], taken)


def estimate(log: Log, target: Target, seed: int) -> dict[str, Estimate | float]:
    """The share of offers that would be taken under `target`, by each estimator, from the log alone."""
    wanted = target(log.features)
    rows = np.arange(len(log.offered))
    same = wanted[rows, log.offered]
    weights = weigh(same, log.probability)
    guessed = _cross_fitted(log, seed)
    at_target = (wanted * guessed).sum(axis=1)
    return {
        "naive": float(same @ log.taken / same.sum()),
        "model": float(at_target.mean()),
        "ips": ips(log.taken, weights),
        "snips": snips(log.taken, weights),
        "doubly robust": doubly_robust(log.taken, weights, guessed[rows, log.offered], at_target),
    }


def _cross_fitted(log: Log, seed: int) -> np.ndarray:
    """How probably each product is taken, by a model that has not seen the row: (rows, products)."""
    which = fold(len(log.offered), FOLDS, seed)
    guessed = np.empty((len(which), len(PRODUCTS)))
    for number in range(FOLDS):
        learn, new = which != number, which == number
        ranker = Ranker(len(PRODUCTS), len(FEATURES))
        ranker.learn(log.features[learn], log.offered[learn], log.taken[learn])
        guessed[new] = ranker.probability(log.features[new])
    return guessed


def economy(features: np.ndarray) -> np.ndarray:
    """Economy for everybody."""
    return np.eye(len(PRODUCTS))[np.zeros(len(features), int)]


def green(features: np.ndarray) -> np.ndarray:
    """A bike to one who goes alone, dry, by day and not far; a shared ride to others who go alone; else economy."""
    busy = [features[:, FEATURES.index(name)] > 0 for name in ("two_or_three", "four_or_more")]
    bad = [features[:, FEATURES.index(name)] > 0 for name in ("over_3_km", "rain", "night", "airport")]
    alone = ~np.any(busy, axis=0)
    by_bike = alone & ~np.any(bad, axis=0)
    choice = np.where(by_bike, PRODUCTS.index("bike"), np.where(alone, PRODUCTS.index("shared"), 0))
    return np.eye(len(PRODUCTS))[choice]


def comfort(features: np.ndarray) -> np.ndarray:
    """Comfort for everybody."""
    return np.eye(len(PRODUCTS))[np.full(len(features), PRODUCTS.index("comfort"))]


TARGETS: dict[str, Target] = {"economy": economy, "comfort": comfort, "green": green}


def judge(
    rows: int,
    seeds: Sequence[int],
    *,
    trying: float = 0.1,
    hidden: float = 0.0,
    riders: int = 2000,
    progress: Progress = silent,
) -> dict[str, dict[str, Score]]:
    """target -> estimator -> score over one log a seed; the rule makes the share `trying` of its offers by chance.

    Raises InvalidInput for a log that never tries, and for shares that are none.
    """
    if not 0 < trying <= 1:
        raise InvalidInput(
            f"trying is {trying:g}: a log that never tries says nothing of other offers; over 0, up to 1."
        )
    if not 0 <= hidden <= 1:
        raise InvalidInput(f"hidden is {hidden:g}: it is a share, 0 to 1.")
    found: dict[str, dict[str, list[tuple[float | Estimate, float]]]] = {
        target: {name: [] for name in ESTIMATORS} for target in TARGETS
    }
    for done, seed in enumerate(seeds):
        requests = draw_requests(draw_riders(riders, seed), rows, seed)
        log = write_log(requests, HouseRule(trying), seed, hidden)
        for target, choose in TARGETS.items():
            truth = float((choose(requests.features) * requests.truth).sum(axis=1).mean())
            for name, one in estimate(log, choose, seed).items():
                found[target][name].append((one, truth))
        progress("logs", done + 1, len(seeds))
    return {target: {name: _score(rows) for name, rows in by_name.items()} for target, by_name in found.items()}


def _score(rows: Sequence[tuple[float | Estimate, float]]) -> Score:
    truth = np.array([truth for _, truth in rows])
    value = np.array([one.value if isinstance(one, Estimate) else one for one, _ in rows])
    weighted = [(one, truth) for one, truth in rows if isinstance(one, Estimate)]
    held = [one.low <= truth <= one.high for one, truth in weighted]
    return Score(
        estimate=float(value.mean()),
        truth=float(truth.mean()),
        bias=float((value - truth).mean()),
        rmse=float(np.sqrt(((value - truth) ** 2).mean())),
        coverage=float(np.mean(held)) if weighted else None,
        mean_weight=float(np.mean([one.mean_weight for one, _ in weighted])) if weighted else None,
    )


def as_rows(scores: dict[str, dict[str, Score]]) -> list[dict[str, object]]:
    """One row for each target and estimator."""
    return [
        {"policy": target, "estimator": name, **asdict(score)}
        for target, by_name in scores.items()
        for name, score in by_name.items()
    ]
