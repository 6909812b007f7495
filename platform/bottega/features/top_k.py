"""The step from a score for every item to the best ones that may be shown."""

import numpy as np

from bottega.features.steps import Columns, Parts, Step

NONE = -1
"""The item of a place that stays empty."""


class TopK(Step, frozen=True, tag="top_k"):
    """The `count` items with the highest scores, best first; of equal scores the lower item first.

    `scores` is a column (batch, items) and an item's number its place there. `without` names columns (batch, n) of
    items that must not be shown; numbers below 0 are none. Places without an item have the item -1 and the score 0.
    """

    scores: str
    count: int
    items: str
    best: str
    without: tuple[str, ...] = ()

    def reads(self) -> tuple[str, ...]:
        return (self.scores, *self.without)

    def makes(self) -> tuple[str, ...]:
        return (self.items, self.best)

    def run(self, ready: Columns, parts: Parts) -> None:
        scores = np.array(ready[self.scores], np.float64)  # (batch, items)
        for name in self.without:
            rows, places = np.nonzero(ready[name] >= 0)
            scores[rows, ready[name][rows, places]] = -np.inf
        items = np.argsort(-scores, axis=1, kind="stable")[:, : self.count]
        best = np.take_along_axis(scores, items, axis=1)
        shown = np.isfinite(best)
        ready[self.items] = np.where(shown, items, NONE)
        ready[self.best] = np.where(shown, best, 0.0)


class Expected(Step, frozen=True, tag="expected"):
    """What an item's attribute is on average, where `probabilities` (batch, items) says how likely each item is.

    The attribute is a column of a table that is addressed by the item's number. Items without one do not count.
    """

    probabilities: str
    table: str
    column: str
    output: str

    def reads(self) -> tuple[str, ...]:
        return (self.probabilities,)

    def makes(self) -> tuple[str, ...]:
        return (self.output,)

    def run(self, ready: Columns, parts: Parts) -> None:
        values = parts.tables[self.table].columns[self.column]
        known = ~np.isnan(values)
        likely = np.asarray(ready[self.probabilities], np.float64)[:, known]
        ready[self.output] = likely @ values[known] / likely.sum(axis=1)
