"""Pricing policies: no surge, a rule, an optimiser; each bounded, smoothed, and able to say why.

A policy sees forecasts only: requests and cars of the next minutes. The rule is one numeric function, so that the
endpoint's artefact computes the very same price.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bottega.errors import InvalidInput
from bottega.market.dispatch import near_min
from bottega.market.riders import Riders

HORIZON_MIN = 15


@dataclass(frozen=True)
class Seen:
    """What a policy may know: (worlds, districts) each; `emergency` (worlds,) is declared by the authorities."""

    requests: np.ndarray
    """Forecast of the next HORIZON_MIN minutes, at the ordinary price."""
    cars: np.ndarray
    """Cars that are free now or will be within HORIZON_MIN minutes."""
    trip_min: np.ndarray
    last: np.ndarray
    """The multiplier of the last tick."""
    emergency: np.ndarray


@dataclass(frozen=True)
class Bounds:
    """The limits of every price: never below 1, never above `cap`, in a declared emergency `emergency_cap`.

    `inertia` is the share of the last multiplier in the next: prices move, but do not jump.
    """

    cap: float = 2.5
    emergency_cap: float = 1.2
    inertia: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.emergency_cap <= self.cap:
            raise InvalidInput(
                f"The caps are {self.cap:g} and {self.emergency_cap:g} in an emergency.",
                next_step="Both are at least 1, and the emergency's is not the higher one.",
            )
        if not 0 <= self.inertia < 1:
            raise InvalidInput(f"The inertia is {self.inertia:g}; it must be at least 0 and below 1.")

    def apply(self, wanted: np.ndarray, seen: Seen) -> np.ndarray:
        """The price: smoothed, then bounded, (worlds, districts)."""
        cap = np.where(seen.emergency, self.emergency_cap, self.cap)[:, None]
        smooth = self.inertia * seen.last + (1 - self.inertia) * wanted
        return np.asarray(np.clip(smooth, 1.0, cap))


class Policy(Protocol):
    """A way to set prices."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def price(self, seen: Seen) -> np.ndarray:
        """The multiplier of each district, (worlds, districts)."""
        ...


def surge(xp: Any, requests: Any, cars: Any, slope: Any, tightness: Any, cap: Any) -> Any:
    """The rule: 1 + slope * (tightness * requests / cars - 1) where that is more than 1, at most `cap`."""
    ratio = tightness * requests / xp.maximum(cars, 1.0)
    return xp.minimum(1.0 + slope * xp.maximum(ratio - 1.0, 0.0), cap)


@dataclass(frozen=True)
class NoSurge:
    """The ordinary price, always."""

    name: str = "none"

    def price(self, seen: Seen) -> np.ndarray:
        """1 everywhere."""
        return np.ones_like(seen.requests)


@dataclass(frozen=True)
class Rule:
    """The price follows the ratio of requests to cars."""

    slope: float = 0.7
    tightness: float = 0.9
    bounds: Bounds = field(default_factory=Bounds)
    name: str = "rule"

    def price(self, seen: Seen) -> np.ndarray:
        """`surge` of the forecasts, within bounds."""
        wanted = surge(np, seen.requests, seen.cars, self.slope, self.tightness, self.bounds.cap)
        return self.bounds.apply(wanted, seen)


@dataclass(frozen=True)
class Optimiser:
    """The price at which the cars at hand would complete most trips, by a model of riders and of the way to them.

    A trip takes its own minutes and those to its rider, which grow as free cars get scarce. Of prices that complete
    about as much, within `tolerance`, the lowest is taken. `reserve` scales the cars that are counted on.
    """

    reserve: float = 1.0
    tolerance: float = 0.005
    riders: Riders = field(default_factory=Riders)
    bounds: Bounds = field(default_factory=Bounds)
    name: str = "optimiser"

    def price(self, seen: Seen) -> np.ndarray:
        """The best of a grid of prices, within bounds."""
        grid = np.arange(1.0, self.bounds.cap + 0.049, 0.1)
        accepted = self.riders.would_pay(grid) / self.riders.would_pay(np.ones(1))  # (prices,)
        wanted = seen.requests[..., None] * accepted  # (worlds, districts, prices)
        cars = self.reserve * seen.cars[..., None]
        pickup_min = near_min(np.maximum(cars - wanted, 0.0)) + 2 * np.maximum(wanted - cars, 0.0) / np.maximum(cars, 1)
        capacity = cars * (1.0 + HORIZON_MIN / (seen.trip_min[:, None] + pickup_min)) / 2.0
        completed = np.minimum(wanted, capacity)
        good = completed >= completed.max(axis=-1, keepdims=True) * (1 - self.tolerance)
        return self.bounds.apply(grid[np.argmax(good, axis=-1)], seen)


def reason(requests: float, cars: float, minutes: int, multiplier: float, *, capped: bool = False) -> str:
    """Why the price is what it is, for people.

    >>> reason(32, 11, 15, 1.8)
    '32 requests for 11 cars in the next 15 minutes'
    """
    text = f"{requests:.0f} requests for {cars:.0f} cars in the next {minutes} minutes"
    if capped:
        return f"{text}; held at {multiplier:.2f} by the cap"
    return text
