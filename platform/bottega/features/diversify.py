"""The step from candidates to a list that is not all of one kind.

Maximal marginal relevance: each place goes to the candidate that is good and unlike those above it (Carbonell and
Goldstein, "The use of MMR, diversity-based reranking", 1998).
"""

import numpy as np

from bottega.features.steps import Columns, Parts, Step
from bottega.features.top_k import NONE


class Diversify(Step, frozen=True, tag="diversify"):
    """The first `count` of the candidates `items` (batch, candidates), best first, with their scores `best`.

    A candidate's worth is (1 - weight) times its score over the best one's, less the weight where one above it is of
    the same group: `column` of `table`, below 0 for no group. `weight` is a column of 0 (as they come) to 1.
    """

    items: str
    best: str
    weight: str
    table: str
    column: str
    count: int
    shown: str
    scores: str

    def reads(self) -> tuple[str, ...]:
        return (self.items, self.best, self.weight)

    def makes(self) -> tuple[str, ...]:
        return (self.shown, self.scores)

    def run(self, ready: Columns, parts: Parts) -> None:
        items, best = ready[self.items], ready[self.best]
        weight = np.asarray(ready[self.weight], np.float64)
        if not weight.any():
            ready[self.shown], ready[self.scores] = items[:, : self.count], best[:, : self.count]
            return
        groups = np.where(items >= 0, parts.tables[self.table].columns[self.column][items], -1.0)
        places = self._places(items, best, groups, weight)
        ready[self.shown] = np.take_along_axis(items, places, axis=1)
        ready[self.scores] = np.take_along_axis(best, places, axis=1)

    def _places(self, items: np.ndarray, best: np.ndarray, groups: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Which candidates are shown, in order: (batch, count) int64."""
        rows = np.arange(len(items))
        top = np.maximum(best[:, :1], np.finfo(np.float64).tiny)
        worth = np.where(items == NONE, -2.0, (1 - weight)[:, None] * best / top)  # an empty place comes last
        places = np.empty((len(items), self.count), np.int64)
        above = np.zeros(items.shape, bool)  # whether one of the group is above
        for place in range(self.count):
            chosen = np.argmax(worth - weight[:, None] * above, axis=1)
            places[:, place] = chosen
            worth[rows, chosen] = -np.inf
            group = groups[rows, chosen][:, None]
            above |= (groups == group) & (group >= 0)
        return places
