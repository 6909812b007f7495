"""Counts that scatter more than Poisson: negative binomial, its quantiles as steps of the mean, and how to judge them.

The variance is mean + mean^2 / size; a large size is nearly Poisson. A quantile is a whole number that rises with the
mean, so it is told by the means at which it steps up: a plan's Bucket gives it exactly, without any special function.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaincinv, gammaln

LARGEST = 400
"""Quantiles are told up to this count."""
_SIZES = (0.5, 1000.0)


def fit_size(actual: np.ndarray, mean: np.ndarray) -> float:
    """The size of most likelihood for counts (rows,) with known means (rows,)."""
    expected = np.maximum(mean, 1e-6)

    def surprise(log_size: float) -> float:
        size = np.exp(log_size)
        known = gammaln(actual + size) - gammaln(size) + size * np.log(size / (size + expected))
        return -float(np.mean(known + actual * np.log(expected / (size + expected))))

    found = minimize_scalar(surprise, bounds=tuple(np.log(_SIZES)), method="bounded")
    return float(np.exp(found.x))


def steps(quantile: float, size: float) -> tuple[float, ...]:
    """The means at which the quantile becomes 1, 2, ... LARGEST.

    Of mean m the quantile is the least k whose distribution function reaches `quantile`; that function at k is the
    incomplete beta function of size and k + 1 at size / (size + m).

    >>> [round(m, 2) for m in steps(0.5, 1e6)[:2]]
    [0.69, 1.68]
    """
    share = betaincinv(size, np.arange(LARGEST) + 1.0, quantile)
    return tuple(float(mean) for mean in size * (1 - share) / share)


def pinball(actual: np.ndarray, quantile: np.ndarray, level: float) -> float:
    """Mean pinball loss of a quantile (rows,) at its level: what it costs to be above and below."""
    error = actual - quantile
    return float(np.maximum(level * error, (level - 1) * error).mean())
