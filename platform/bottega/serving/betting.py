"""Tests that may look after every request: betting against a bound on a mean.

Whoever bets against a true bound does not grow rich. Start with one unit; before each observation x stake a part of it
on "x is over the bound"; what is left multiplies by 1 + bet * (x - bound). Where the mean, given all that came before,
is at most the bound, the expected wealth never grows, so that the chance of ever holding 1/alpha units is at most alpha
(Ville's inequality), however often one looks and whenever one stops. Observations may depend on each other, and no
distribution is assumed.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024);
Ville, "Etude critique de la notion de collectif" (1939). With a bet of fixed size against a coin it is Wald's
sequential probability ratio test.
"""

import math

BOLD, TIMID = 0.95, 0.3
"""Parts of the largest bet that cannot lose everything: the bold one ends a bad case soon, the timid a mild one."""
BOLD_SHARE = 0.8


class Betting:
    """One test of "the mean of x is at most `bound`", x between `lowest` and 1, at level `alpha`.

    The wealth is the mean of two players', which is a player too.
    """

    def __init__(self, bound: float, alpha: float, lowest: float = 0.0) -> None:
        self.bound, self.alpha = bound, alpha
        largest = 1 / (bound - lowest)
        self._bold, self._timid = BOLD * largest, TIMID * largest
        self._log_bold, self._log_timid = math.log(BOLD_SHARE), math.log1p(-BOLD_SHARE)
        self.count = 0
        self.sum = 0.0

    def observe(self, x: float) -> None:
        """One more observation."""
        self.count += 1
        self.sum += x
        self._log_bold += math.log1p(self._bold * (x - self.bound))
        self._log_timid += math.log1p(self._timid * (x - self.bound))

    @property
    def log_wealth(self) -> float:
        """Natural logarithm of the wealth; the bound is refuted at -log(alpha)."""
        high, low = max(self._log_bold, self._log_timid), min(self._log_bold, self._log_timid)
        return high + math.log1p(math.exp(low - high))

    @property
    def refuted(self) -> bool:
        """Whether the mean is over the bound, with a chance of at most `alpha` that it is not."""
        return self.log_wealth >= -math.log(self.alpha)

    @property
    def mean(self) -> float:
        """Of the observations; 0 before the first."""
        return self.sum / self.count if self.count else 0.0
