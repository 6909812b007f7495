"""Which ride to offer first: policies that learn from what becomes of their offers.

A policy sees features and gives each product a score; the best is offered. Only the offered product's answer is ever
seen, so a policy that never tries a product never learns that it was wrong about it.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from bottega.datasets.riders import FEATURES, PRODUCTS

Choices = np.ndarray
"""(requests,) int64: the place of the offered product in PRODUCTS."""


class Policy(Protocol):
    """Chooses offers for requests that come together, and learns from all answers before the next ones."""

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """The product to offer at each request: features (requests, features)."""

    def learn(self, features: np.ndarray, offered: Choices, taken: np.ndarray) -> None:
        """Take in what became of these offers; taken (requests,) 0 or 1."""


class HouseRule:
    """What was offered before anybody learned: large to parties of four, comfort to the airport, else economy.

    Now and then it offers anything: with probability `trying`, so that its log says something of every product.
    """

    def __init__(self, trying: float = 0.02) -> None:
        self._trying = trying

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """How probably each product is offered: (requests, products)."""
        large, airport = (features[:, FEATURES.index(name)] > 0 for name in ("four_or_more", "airport"))
        rule = np.where(large, PRODUCTS.index("large"), np.where(airport, PRODUCTS.index("comfort"), 0))
        return (1 - self._trying) * np.eye(len(PRODUCTS))[rule] + self._trying / len(PRODUCTS)

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """By the rule, or by chance."""
        return draw_choices(self.probabilities(features), rng)

    def learn(self, features: np.ndarray, offered: Choices, taken: np.ndarray) -> None:
        """Nothing."""


def draw_choices(probabilities: np.ndarray, rng: np.random.Generator) -> Choices:
    """A product for each request by its probabilities: (requests, products) to (requests,)."""
    thresholds = probabilities.cumsum(axis=1)[:, :-1]
    return (rng.random((len(probabilities), 1)) > thresholds).sum(axis=1)


class Popular:
    """Offers everybody the product that was taken most often where it was offered (one try of each to begin with)."""

    def __init__(self, products: int) -> None:
        self._taken, self._offered = np.ones(products), np.ones(products)

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """The same product for all of these requests."""
        return np.full(len(features), int(np.argmax(self._taken / self._offered)))

    def learn(self, features: np.ndarray, offered: Choices, taken: np.ndarray) -> None:
        """Count."""
        self._taken += np.bincount(offered, taken, len(self._taken))
        self._offered += np.bincount(offered, minlength=len(self._offered))


class Ranker:
    """A logistic regression for each product on all answers so far; the most probable is offered, nothing is tried out.

    Of a product that was hardly offered it believes what is true of all offers together.
    """

    def __init__(self, products: int, features: int, ridge: float = 1.0) -> None:
        self._weights = np.zeros((products, features))
        self._ridge = ridge
        self._seen: list[tuple[np.ndarray, Choices, np.ndarray]] = []

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """The product that is most probably taken; ties by chance."""
        scores = self.probability(features)
        return np.argmax(scores + 1e-9 * rng.random(scores.shape), axis=1)

    def probability(self, features: np.ndarray) -> np.ndarray:
        """How probably each product is taken: (requests, products)."""
        return 1 / (1 + np.exp(-features @ self._weights.T))

    def learn(self, features: np.ndarray, offered: Choices, taken: np.ndarray) -> None:
        """Learn again from everything."""
        self._seen.append((features, offered, taken))
        features, offered, taken = (np.concatenate(parts) for parts in zip(*self._seen, strict=True))
        prior = np.zeros(features.shape[1])
        prior[0] = np.log((taken.sum() + 1) / (len(taken) - taken.sum() + 1))  # the first feature is always 1
        for product in range(len(self._weights)):
            mine = offered == product
            self._weights[product] = fit_logistic(features[mine], taken[mine], self._ridge, prior)


def fit_logistic(features: np.ndarray, taken: np.ndarray, ridge: float, prior: np.ndarray) -> np.ndarray:
    """Weights with the least log loss plus `ridge` / 2 times their squared distance to `prior`: (features,)."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds, apart = features @ weights, weights - prior
        value = np.logaddexp(0, odds).sum() - taken @ odds + 0.5 * ridge * apart @ apart
        return float(value), features.T @ (1 / (1 + np.exp(-odds)) - taken) + ridge * apart

    return minimize(loss, prior, jac=True, method="L-BFGS-B").x


class LinearArms:
    """A Bayesian linear regression for each product: what LinUCB and Thompson sampling share.

    `precision` is (products, features, features), `moment` (products, features).
    """

    def __init__(self, products: int, features: int, ridge: float = 1.0) -> None:
        self.precision = np.tile(ridge * np.eye(features), (products, 1, 1))
        self.moment = np.zeros((products, features))

    def learn(self, features: np.ndarray, offered: Choices, taken: np.ndarray) -> None:
        """Add the answers to the offered products' sums."""
        for product in np.unique(offered):
            mine = features[offered == product]
            self.precision[product] += mine.T @ mine
            self.moment[product] += mine.T @ taken[offered == product]

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (products, features) and covariances (products, features, features) for a noise of variance 1."""
        covariance = np.linalg.inv(self.precision)
        return np.einsum("pij,pj->pi", covariance, self.moment), covariance


class LinUcb(LinearArms):
    """Offers the product with the highest upper bound: mean plus `alpha` standard errors.

    Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article recommendation" (2010).
    """

    def __init__(self, products: int, features: int, ridge: float = 1.0, alpha: float = 0.3) -> None:
        super().__init__(products, features, ridge)
        self._alpha = alpha

    def bounds(self, features: np.ndarray) -> np.ndarray:
        """The upper bound of each product at each request: (requests, products)."""
        mean, covariance = self.posterior()
        spread = np.sqrt(np.einsum("ni,pij,nj->np", features, covariance, features, optimize=True))
        return features @ mean.T + self._alpha * spread

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """The highest bound; ties by chance."""
        bounds = self.bounds(features)
        return np.argmax(bounds + 1e-9 * rng.random(bounds.shape), axis=1)


class Thompson(LinearArms):
    """Draws weights from what is still believed possible, a new draw for each request, and offers the best under them.

    `scale` is the standard deviation of an answer about its mean. Agrawal and Goyal, "Thompson sampling for contextual
    bandits with linear payoffs" (2013).
    """

    def __init__(self, products: int, features: int, ridge: float = 1.0, scale: float = 0.3) -> None:
        super().__init__(products, features, ridge)
        self._scale = scale

    def draw(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A drawn value of each product at each request: (requests, products)."""
        mean, covariance = self.posterior()
        root = np.linalg.cholesky(covariance)  # (products, features, features)
        noise = rng.normal(size=(len(features), *mean.shape))  # (requests, products, features)
        shift = np.einsum("ni,pij,npj->np", features, root, noise, optimize=True)
        return features @ mean.T + self._scale * shift

    def choose(self, features: np.ndarray, rng: np.random.Generator) -> Choices:
        """The best under the drawn weights."""
        return np.argmax(self.draw(features, rng), axis=1)


POLICIES: dict[str, Callable[[], Policy]] = {
    "house rule": HouseRule,
    "popular": lambda: Popular(len(PRODUCTS)),
    "ranker": lambda: Ranker(len(PRODUCTS), len(FEATURES)),
    "linucb": lambda: LinUcb(len(PRODUCTS), len(FEATURES)),
    "thompson": lambda: Thompson(len(PRODUCTS), len(FEATURES)),
}
"""By name, what makes a policy that knows nothing yet."""
