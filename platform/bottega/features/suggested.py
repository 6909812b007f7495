"""The step from suggested items to what people read: their names, and why each is suggested."""

import numpy as np

from bottega.features.steps import Columns, Parts, Step
from bottega.features.tables import Table

OFTEN = 0.05
"""The share of sequels from which on one restaurant "often follows" another."""
COMPARISONS = (  # trait, sign, and what is said where the suggestion has more of it, or less
    ("price_usd", -1, "cheaper than {}"),
    ("quality", 1, "better rated than {}"),
    ("lively", 1, "livelier than {}"),
    ("lively", -1, "quieter than {}"),
    ("creative", 1, "more creative than {}"),
    ("creative", -1, "more traditional than {}"),
)
COMPARED = tuple(text for _, _, text in COMPARISONS)


class Suggested(Step, frozen=True, tag="suggested"):
    """Names and reasons of `items` (batch, shown), after the restaurants `seen` and `actions` (batch, events).

    Both are newest first, below 0 where there is none; `critiques` says for each action which of COMPARISONS it asks
    for, -1 for none. `traits` is a table by item, `sequels` one by (item seen, item) whose column `share` says how
    often the second was chosen after the first. A reason is what the visitor asked for where the suggestion has it,
    else what others did, else what both have in common.
    """

    items: str
    seen: str
    actions: str
    names: tuple[str, ...]
    critiques: tuple[int, ...]
    groups: tuple[str, ...]
    traits: str
    sequels: str
    name: str
    reason: str

    def reads(self) -> tuple[str, ...]:
        return (self.items, self.seen, self.actions)

    def makes(self) -> tuple[str, ...]:
        return (self.name, self.reason)

    def run(self, ready: Columns, parts: Parts) -> None:
        items = ready[self.items]
        names, reasons = np.full(items.shape, "", object), np.full(items.shape, "", object)
        traits, sequels = parts.tables[self.traits], parts.tables[self.sequels]
        for row, listed in enumerate(items.tolist()):
            last, action = int(ready[self.seen][row, 0]), int(ready[self.actions][row, 0])
            seen = set(ready[self.seen][row].tolist())
            for place, item in enumerate(listed):
                if item >= 0:
                    names[row, place] = self.names[item]
                    reasons[row, place] = self._reason(item, last, action, seen, traits, sequels)
        ready[self.name], ready[self.reason] = names, reasons

    def _reason(self, item: int, last: int, action: int, seen: set[int], traits: Table, sequels: Table) -> str:
        if last < 0:
            return "often chosen"
        compared = self.critiques[action] if action >= 0 else -1
        if compared >= 0:
            trait, sign, text = COMPARISONS[compared]
            values = traits.columns[trait]
            if sign * (values[item] - values[last]) > 0:
                return text.format(self.names[last])
        if item in seen:
            return "you looked at it before"
        if sequels.columns["share"][last * sequels.strides[0] + item] >= OFTEN:
            return f"often chosen after {self.names[last]}"
        group = int(traits.columns["cuisine"][item])
        if group >= 0 and group == traits.columns["cuisine"][last]:
            return f"{self.groups[group]}, as {self.names[last]}"
        return "chosen by others who looked at the same"
