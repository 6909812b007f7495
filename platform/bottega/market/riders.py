"""Riders: what a ride is worth to them, how long they would wait, and what is left to them after paying.

The worth of a ride is log-normal, in units of its ordinary fare. A rider takes an offer where that worth exceeds the
multiplier plus what the wait costs, and where the wait is no longer than the rider's patience, log-normal too.

With the numbers below a price that is 1 % higher loses 0.3 % of the riders at a multiplier of 1 and 0.5 % at 1.5, as
measured at Uber (Cohen, Hahn, Hall, Levitt and Metcalfe, "Using big data to estimate consumer surplus", 2016).
"""

import msgspec
import numpy as np
from scipy.special import ndtr


class Riders(msgspec.Struct, frozen=True):
    """How riders are: `worth` and `patience_min` are medians, the spreads are standard deviations of logarithms."""

    worth: float = 2.6
    worth_spread: float = 0.8
    patience_min: float = 25.0
    patience_spread: float = 0.4
    usd_per_min: float = 0.4
    """What a minute of waiting costs a rider."""
    leaving: float = 0.35
    """Share of those without a car who give up in each tick."""

    def would_pay(self, cost: np.ndarray) -> np.ndarray:
        """Share whose ride is worth more than `cost`, in ordinary fares."""
        return np.asarray(ndtr((np.log(self.worth) - np.log(cost)) / self.worth_spread))

    def would_wait(self, wait_min: np.ndarray) -> np.ndarray:
        """Share who are patient enough."""
        return np.asarray(ndtr((np.log(self.patience_min) - np.log(np.maximum(wait_min, 0.1))) / self.patience_spread))

    def worth_above(self, cost: np.ndarray) -> np.ndarray:
        """Mean worth of the rides of those that are worth more than `cost`: the truncated log-normal's mean."""
        distance = (np.log(self.worth) - np.log(cost)) / self.worth_spread
        mean = self.worth * np.exp(self.worth_spread**2 / 2)
        return np.asarray(mean * ndtr(distance + self.worth_spread) / np.maximum(ndtr(distance), 1e-12))
