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

import msgspec

BOLD, TIMID = 0.95, 0.3
"""Parts of the largest bet that cannot lose everything: the bold one ends a bad case soon, the timid a mild one."""
BOLD_SHARE = 0.8


class Betting(msgspec.Struct):
    """One test of "the mean of x is at most `bound`", x between `lowest` and 1, at level `alpha`.

    The wealth is the mean of two players', which is a player too. It is data: a test that was written down goes on.
    """

    bound: float
    alpha: float
    lowest: float = 0.0
    count: int = 0
    sum: float = 0.0
    log_bold: float = math.log(BOLD_SHARE)
    log_timid: float = math.log1p(-BOLD_SHARE)

    def observe(self, x: float) -> None:
        """One more observation."""
        self.count += 1
        self.sum += x
        part = (x - self.bound) / (self.bound - self.lowest)  # of the largest bet
        self.log_bold += math.log1p(BOLD * part)
        self.log_timid += math.log1p(TIMID * part)

    @property
    def log_wealth(self) -> float:
        """Natural logarithm of the wealth; the bound is refuted at -log(alpha)."""
        high, low = max(self.log_bold, self.log_timid), min(self.log_bold, self.log_timid)
        return high + math.log1p(math.exp(low - high))

    @property
    def refuted(self) -> bool:
        """Whether the mean is over the bound, with a chance of at most `alpha` that it is not."""
        return self.log_wealth >= -math.log(self.alpha)

    @property
    def mean(self) -> float:
        """Of the observations; 0 before the first."""
        return self.sum / self.count if self.count else 0.0
