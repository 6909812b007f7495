"""Regret: how many more offers would have been taken by one who knows every rider's taste."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottega.datasets.riders import PRODUCTS, Requests, draw_moods, draw_requests, draw_riders
from bottega.errors import InvalidInput
from bottega.files import disk_errors
from bottega.progress import Progress, silent
from bottega.ranking.bandits import POLICIES, HouseRule, Policy, Ranker

BATCH = 250
"""Requests between two rounds of learning: answers come in late, and all at once."""


@dataclass(frozen=True)
class Course:
    """What a policy did: the offers, whether they were taken, and the regret so far, all (requests,)."""

    offered: np.ndarray
    taken: np.ndarray
    regret: np.ndarray


def play(policy: Policy, requests: Requests, moods: np.ndarray, seed: int, batch: int = BATCH) -> Course:
    """Let a policy answer requests in their order, learning after every `batch`."""
    rng = np.random.default_rng([seed, 24])
    offered, taken = np.empty(len(requests), np.int64), np.empty(len(requests))
    for start in range(0, len(requests), batch):
        now = slice(start, start + batch)
        offered[now] = policy.choose(requests.features[now], rng)
        rows = np.arange(len(requests))[now]
        taken[now] = moods[now] < requests.truth[rows, offered[now]]
        policy.learn(requests.features[now], offered[now], taken[now])
    return Course(offered, taken, np.cumsum(requests.best - requests.of(offered)))


def compare(
    requests: int, seeds: Sequence[int], *, logged: int = 2000, riders: int = 2000, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """The regret of each policy over time, on the same riders, requests and moods: name -> (seeds, requests).

    Every policy first learns from the same log of `logged` offers by the house rule, which is not counted. `informed`
    is the one that features allow: a ranker that was told what becomes of all five offers of as many other requests.
    """
    if not seeds:
        raise InvalidInput("There is no seed.", next_step="Give one or more.")
    curves: dict[str, list[np.ndarray]] = {name: [] for name in (*POLICIES, "informed")}
    for done, seed in enumerate(seeds):
        people = draw_riders(riders, seed)
        drawn = draw_requests(people, requests, seed)
        moods = draw_moods(requests, seed)
        log = _log(draw_requests(people, logged, seed + 1_000_003), seed) if logged else None
        for name, make in POLICIES.items():
            policy = make()
            if log is not None:
                policy.learn(*log)
            curves[name].append(play(policy, drawn, moods, seed).regret)
        curves["informed"].append(_informed(draw_requests(people, requests, seed + 2_000_003), drawn, seed))
        progress("riders", done + 1, len(seeds))
    return {name: np.array(found) for name, found in curves.items()}


def _log(requests: Requests, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, offers and answers of the house rule."""
    course = play(HouseRule(), requests, draw_moods(len(requests), seed + 1_000_003), seed)
    return requests.features, course.offered, course.taken


def _informed(told: Requests, requests: Requests, seed: int) -> np.ndarray:
    """The regret of a ranker that knows the answer to every offer of the told requests."""
    ranker = Ranker(len(PRODUCTS), told.features.shape[1])
    every = np.repeat(np.arange(len(PRODUCTS)), len(told))
    ranker.learn(np.tile(told.features, (len(PRODUCTS), 1)), every, told.truth.T.ravel())
    offered = ranker.choose(requests.features, np.random.default_rng([seed, 26]))
    return np.cumsum(requests.best - requests.of(offered))


def draw(curves: dict[str, np.ndarray], file: Path) -> None:
    """Draw the mean regret of each policy with its 95 % band. Raises InvalidInput for a file that is no picture."""
    if file.suffix not in (".png", ".svg", ".pdf"):
        raise InvalidInput(f"{file.name!r} is no picture.", next_step="Name a file that ends with .png, .svg or .pdf.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        mean, low, high = band(curve)
        at = np.unique(np.linspace(0, len(mean) - 1, 400).astype(int))
        (line,) = axes.plot(at + 1, mean[at], label=name)
        axes.fill_between(at + 1, low[at], high[at], color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="requests", ylabel="regret (offers that could have been taken)", xlim=(0, None), ylim=(0, None))
    axes.legend()
    with disk_errors(file):
        figure.savefig(file, dpi=120)


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and a 95 % band of that mean, by Student's t: values (seeds, ...)."""
    from scipy.stats import t

    mean = values.mean(axis=0)
    if len(values) < 2:
        return mean, mean, mean
    half = t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return mean, mean - half, mean + half
