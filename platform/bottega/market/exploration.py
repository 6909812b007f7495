"""Off-policy evaluation in the market: what a log of prices says about another policy, beside what is true.

A logging policy draws each price from a list, near what a rule would set, and notes the chances. Its days are then used
to estimate how many trips a tick other policies would complete, and the simulator is asked as well. Two things mislead:

- **little overlap**: a target far from the log's prices rests on a handful of rows (`effective_rows`);
- **interference**: a price also works later and elsewhere, through drivers who come and cars that stay near. A row's
  own reward does not hold that, so estimators agree with each other, and not with the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from bottega.market.city import City
from bottega.market.conditions import Conditions
from bottega.market.policies import Bounds, NoSurge, Policy, Rule, Seen
from bottega.market.simulation import simulate
from bottega.training.off_policy import doubly_robust, fold, ips, snips, uncovered, weigh

PRICES = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
FOLDS = 5


@dataclass
class Choosing:
    """A policy that draws its price from PRICES, near what `policy` would set, and remembers the chances.

    With `spread` 0 it always takes the nearest; `watched` policies' chances in the same states are noted as well.
    """

    policy: Policy
    spread: float
    seed: int = 0
    watched: tuple["Choosing", ...] = ()
    name: str = "choosing"
    noted: list[np.ndarray] = field(default_factory=list)
    """A tick each: the chances of the prices, (policies, worlds, districts, prices); its own first."""

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def chances(self, seen: Seen) -> np.ndarray:
        """The probability of each price, (worlds, districts, prices)."""
        gap = np.abs(self.policy.price(seen)[..., None] - np.array(PRICES))
        if self.spread == 0:
            return np.asarray(np.eye(len(PRICES))[np.argmin(gap, axis=-1)])
        weight = np.exp(-(gap - gap.min(axis=-1, keepdims=True)) / self.spread)
        return np.asarray(weight / weight.sum(axis=-1, keepdims=True))

    def price(self, seen: Seen) -> np.ndarray:
        """A drawn price, (worlds, districts)."""
        own = self.chances(seen)
        self.noted.append(np.stack([own, *(other.chances(seen) for other in self.watched)]))
        drawn = (self._rng.uniform(size=(*own.shape[:2], 1)) > np.cumsum(own, axis=-1)).sum(axis=-1)
        return np.array(PRICES)[np.minimum(drawn, len(PRICES) - 1)]


class Estimated(msgspec.Struct, frozen=True):
    """Trips completed in a tick and district under a target policy: the truth, and what the log says.

    `effective_rows` of `rows` stand behind the estimates; `uncovered` is the share of the target's choices that the log
    never makes.
    """

    target: str
    truth: float
    logged: float
    ips: float
    ips_low: float
    ips_high: float
    snips: float
    doubly_robust: float
    doubly_robust_low: float
    doubly_robust_high: float
    rows: int
    effective_rows: float
    uncovered: float


def study() -> tuple[Choosing, tuple[Choosing, ...]]:
    """A log with moderate prices, and what it is asked about: itself, a policy nearby, no surge, and one far away."""
    bounds = Bounds(cap=PRICES[-1], inertia=0.0)
    moderate = Rule(0.3, 0.8, bounds)
    targets = (
        Choosing(moderate, 0.25, name="the log itself"),
        Choosing(Rule(0.7, 0.9, bounds), 0.1, name="steeper"),
        Choosing(NoSurge(), 0.0, name="no surge"),
        Choosing(Rule(1.5, 1.5, bounds), 0.0, name="far steeper"),
    )
    return Choosing(moderate, 0.25, seed=1), targets


def evaluate_off_policy(
    city: City,
    logging: Choosing,
    targets: Sequence[Choosing],
    seeds: Sequence[int],
    conditions: Conditions | None = None,
) -> tuple[Estimated, ...]:
    """Log days under one policy, estimate the targets from them, and live through the same days under each target."""
    acting = Choosing(logging.policy, logging.spread, logging.seed, tuple(targets), logging.name)
    days = simulate(city, acting, seeds, conditions)
    chances = np.stack(acting.noted)  # (ticks, policies, worlds, districts, prices)
    rewards = days.completed.ravel()
    taken = np.argmin(np.abs(days.multiplier[..., None] - np.array(PRICES)), axis=-1).ravel()
    world = np.broadcast_to(np.arange(len(seeds))[:, None], days.completed.shape).ravel()
    state = np.column_stack([days.forecast.ravel(), days.cars.ravel()])
    predicted = _predict(state, taken, rewards, world)  # (rows, prices)
    own = chances[:, 0].reshape(-1, len(PRICES))
    rows = np.arange(len(rewards))
    results = []
    for number, target in enumerate(targets, start=1):
        wanted = chances[:, number].reshape(-1, len(PRICES))
        weight = weigh(wanted[rows, taken], own[rows, taken])
        plain, normal = ips(rewards, weight, clusters=world), snips(rewards, weight, clusters=world)
        robust = doubly_robust(
            rewards, weight, predicted[rows, taken], (wanted * predicted).sum(axis=1), clusters=world
        )
        lived = simulate(city, Choosing(target.policy, target.spread, target.seed, name=target.name), seeds, conditions)
        results.append(
            Estimated(
                target=target.name,
                truth=float(lived.completed.mean()),
                logged=float(rewards.mean()),
                ips=plain.value,
                ips_low=plain.low,
                ips_high=plain.high,
                snips=normal.value,
                doubly_robust=robust.value,
                doubly_robust_low=robust.low,
                doubly_robust_high=robust.high,
                rows=robust.rows,
                effective_rows=robust.effective_rows,
                uncovered=uncovered(wanted, own),
            )
        )
    return tuple(results)


def _predict(state: np.ndarray, taken: np.ndarray, rewards: np.ndarray, world: np.ndarray) -> np.ndarray:
    """The reward of each price in each row's state, by least squares on other worlds' rows: (rows, prices)."""
    worlds = int(world.max()) + 1
    part = fold(worlds, min(FOLDS, worlds), seed=0)[world]
    predicted = np.empty((len(rewards), len(PRICES)))
    for number in np.unique(part):
        held = part == number
        known, *_ = np.linalg.lstsq(_columns(state[~held], np.array(PRICES)[taken[~held]]), rewards[~held], rcond=None)
        for column, price in enumerate(PRICES):
            predicted[held, column] = _columns(state[held], np.full(held.sum(), price)) @ known
    return predicted


def _columns(state: np.ndarray, price: np.ndarray) -> np.ndarray:
    """What the reward's model sees: requests, cars, the smaller of both, and each of them times the price."""
    requests, cars = state.T
    both = np.minimum(requests, cars)
    parts = np.column_stack([np.ones_like(price), requests, cars, both, np.sqrt(requests * cars)])
    return np.column_stack([parts, parts * price[:, None], price**2])
