"""Riders who are offered one kind of ride first, and take it or not: invented, their true preferences known.

A rider has tastes that nobody sees, and a history of rides that they shaped. A request has a distance, a party, weather
and an hour. The logarithm of the odds that an offer is taken adds up from all of it; so for every offer that was made,
what would have become of the other four is known too.
"""

from dataclasses import dataclass

import numpy as np

from bottega.errors import InvalidInput

PRODUCTS = ("economy", "comfort", "large", "shared", "bike")
CONTEXT = ("one", "log_km", "over_3_km", "two_or_three", "four_or_more", "rain", "commute", "night", "airport")
HISTORY = (*(f"share_{product}" for product in PRODUCTS), "no_history")
FEATURES = (*CONTEXT, *HISTORY)
"""What is known when an offer is made."""
_EFFECTS = np.array(
    # one   km    >3   2-3   4+   rain commute night airport
    [
        [0.4, -0.1, 0.0, 0.0, -3.0, 0.2, 0.1, 0.1, -0.4],  # economy
        [-1.0, 0.3, 0.2, 0.2, -3.0, 0.3, -0.1, 0.5, 1.2],  # comfort
        [-3.0, 0.2, 0.0, 0.6, 4.2, 0.1, -0.2, 0.2, 0.6],  # large
        [-0.6, 0.4, 0.2, -1.2, -4.0, -0.1, 0.5, -0.9, -1.0],  # shared
        [0.2, -0.6, -1.4, -1.6, -4.0, -2.0, 0.4, -1.0, -3.0],  # bike
    ]
)  # (products, context): the log odds of an offer that is taken
_SPREAD = np.array([0.7, 1.0, 0.6, 1.2, 1.3])  # of the riders' tastes, log odds


@dataclass(frozen=True)
class Riders:
    """People: row i is rider i."""

    taste: np.ndarray  # (riders, products) float64: log odds beside the context's; nobody sees it
    rides: np.ndarray  # (riders, products) int64: earlier rides by product, when they chose by themselves


@dataclass(frozen=True)
class Requests:
    """Requests in order of time."""

    rider: np.ndarray  # (requests,) int64
    features: np.ndarray  # (requests, FEATURES) float64
    truth: np.ndarray  # (requests, products) float64: the probability that this product, offered first, is taken

    def __len__(self) -> int:
        return len(self.rider)

    def of(self, offered: np.ndarray) -> np.ndarray:
        """The probability that each of these offers is taken: (requests,)."""
        return self.truth[np.arange(len(self)), offered]

    @property
    def best(self) -> np.ndarray:
        """The probability of the best offer, for one who knows the tastes: (requests,)."""
        return self.truth.max(axis=1)


def draw_riders(count: int, seed: int) -> Riders:
    """Riders with tastes and up to some dozens of earlier rides; a quarter is new and has none."""
    if count < 1:
        raise InvalidInput(f"{count} riders: one or more are needed.")
    rng = np.random.default_rng([seed, 21])
    taste = rng.normal(0, 1, (count, len(PRODUCTS))) * _SPREAD
    alone = np.exp(_EFFECTS[:, 0] + taste)  # what they choose when nothing is special
    total = np.where(rng.random(count) < 0.25, 0, rng.geometric(1 / 12, count))
    rides = rng.multinomial(total, alone / alone.sum(axis=1, keepdims=True))
    return Riders(taste, rides)


def draw_requests(riders: Riders, count: int, seed: int) -> Requests:
    """Requests of these riders, with the truth about every offer."""
    if count < 1:
        raise InvalidInput(f"{count} requests: one or more are needed.")
    rng = np.random.default_rng([seed, 22])
    rider = rng.integers(0, len(riders.taste), count)
    km = rng.lognormal(np.log(4), 0.7, count)
    party = rng.choice([1, 2, 4], count, p=[0.68, 0.23, 0.09])
    hour = rng.choice(4, count, p=[0.3, 0.35, 0.2, 0.15])  # commute, day, evening, night
    context = np.column_stack(
        [
            np.ones(count),
            np.log(km / 4),
            km > 3,
            party == 2,
            party == 4,
            rng.random(count) < 0.15,
            hour == 0,
            hour == 3,
            rng.random(count) < np.where(km > 8, 0.25, 0.02),
        ]
    ).astype(float)
    odds = context @ _EFFECTS.T + riders.taste[rider]
    return Requests(rider, np.hstack([context, _history(riders)[rider]]), 1 / (1 + np.exp(-odds)))


def draw_moods(count: int, seed: int) -> np.ndarray:
    """A number from 0 to 1 for each request: an offer is taken where its probability is above it. (requests,)

    The same moods for every policy: policies differ by their offers and not by their luck.
    """
    return np.random.default_rng([seed, 23]).random(count)


def _history(riders: Riders) -> np.ndarray:
    """Shares of the earlier rides, and whether there are none: (riders, HISTORY)."""
    total = riders.rides.sum(axis=1, keepdims=True)
    return np.hstack([riders.rides / np.maximum(total, 1), total == 0])
