"""Two towers and a pointer: a session's tower, a restaurant's tower, and a pointer back to what was already seen.

The session's tower is a gated recurrent unit over pairs of restaurant and action (Hidasi et al., "Session-based
recommendations with recurrent neural networks", 2016); it ends in a query for each goal. The restaurant's tower adds
what is learned of the restaurant to what is learned of its labels. Their product ranks candidates, so a nearest
neighbour index of the restaurants can find them (Yi et al., "Sampling-bias-corrected neural modeling for large corpus
item recommendations", 2019). The pointer raises or lowers what the session has shown before (Ren et al., "RepeatNet",
2019): browsing goes on, but the choice is often a step back.
"""

import numpy as np
import torch
from torch import Tensor, nn

from bottega.datasets.sessions import ACTIONS
from bottega.ranking.settings import TowerSettings

GOALS = ("next", "end")
"""What is asked: the restaurant that follows these events, or the one where the session will end."""
_SHARPNESS = 3.0


class Towers(nn.Module):
    """`labels` are the restaurants' labels, (restaurants, labels) of 0 and 1."""

    labels: Tensor

    def __init__(self, labels: np.ndarray, settings: TowerSettings) -> None:
        super().__init__()
        restaurants, width, hidden = len(labels), settings.width, settings.hidden
        self.settings = settings
        self.register_buffer("labels", torch.tensor(labels / np.maximum(labels.sum(1, keepdims=True), 1)).float())
        self.pair = nn.Embedding(restaurants * len(ACTIONS) + 1, width)  # 0 stands for no event
        self.seen = nn.Embedding(restaurants + 1, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.unit = nn.GRU(width, hidden, batch_first=True)
        self.query = nn.Linear(hidden + width, len(GOALS) * width)
        self.pointer = nn.Linear(hidden + width, len(GOALS) * settings.events)
        self.own = nn.Embedding(restaurants, width)
        self.by_label = nn.Linear(labels.shape[1], width, bias=False)
        self.usual = nn.Parameter(torch.zeros(len(GOALS), restaurants))
        for table in (self.pair, self.seen, self.own):
            nn.init.normal_(table.weight, std=0.1)
        for part in (self.pointer.weight, self.pointer.bias, self.by_label.weight):
            nn.init.zeros_(part)

    def restaurants(self) -> Tensor:
        """The restaurants' tower: (restaurants, width)."""
        return (self.own.weight + self.by_label(self.labels)) * _SHARPNESS

    def embed(self, items: Tensor, actions: Tensor) -> Tensor:
        """Events as vectors: (..., width); an item below 0 is no event."""
        pair = torch.where(items < 0, 0, items * len(ACTIONS) + actions + 1)
        return self.dropout(self.pair(pair) + self.seen(items.clamp(min=-1) + 1))

    def states(self, items: Tensor, actions: Tensor) -> Tensor:
        """What is known after each event of sessions (batch, steps), oldest first: (batch, steps, hidden + width)."""
        events = self.embed(items, actions)
        memory, _ = self.unit(events)
        return torch.cat([self.dropout(memory), events], -1)

    def scores(self, states: Tensor, seen: Tensor, goal: int) -> Tensor:
        """Scores of all restaurants, (rows, restaurants), from states (rows, hidden + width) and from the last
        restaurants `seen` (rows, events), the newest first, below 0 where there is none."""
        width, events = self.settings.width, self.settings.events
        query = self.query(states)[:, goal * width : (goal + 1) * width]
        back = self.pointer(states)[:, goal * events : (goal + 1) * events]
        scores = query @ self.restaurants().T + self.usual[goal]
        padded = nn.functional.pad(scores, (1, 0)).scatter_add(1, seen + 1, back)  # place 0 takes what is not there
        return padded[:, 1:]

    def seen_at(self, items: Tensor) -> Tensor:
        """The last restaurants at each step, the newest first: (batch, steps, events)."""
        steps = items.shape[1]
        shifted = [nn.functional.pad(items, (lag, 0), value=-1)[:, :steps] for lag in range(self.settings.events)]
        return torch.stack(shifted, -1)


class Served(nn.Module):
    """The network as it is served: one matrix in, one out, every step written out.

    (batch, 2 events + 1) float32: restaurants and actions, the newest first, below 0 where there was none, and the
    goal's place. Out come probabilities of all restaurants, (batch, restaurants) float32, for the goal.
    """

    ids: Tensor
    vectors: Tensor

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers
        self.register_buffer("ids", torch.arange(len(towers.own.weight), dtype=torch.float32))
        self.register_buffer("vectors", towers.restaurants().detach().T.contiguous())  # (width, restaurants)

    def forward(self, features: Tensor) -> Tensor:
        towers, events = self.towers, self.towers.settings.events
        restaurants = len(self.ids)
        seen = features[:, :events]  # (batch, events)
        items = _whole(seen, restaurants - 1)
        actions = _whole(features[:, events : 2 * events], len(ACTIONS) - 1).clamp(min=0)
        vectors = towers.embed(items, actions)  # (batch, events, width)
        there = (seen >= 0).to(torch.float32)
        memory = torch.zeros_like(vectors[:, 0, :1]) * torch.zeros(1, towers.settings.hidden)
        for step in range(events - 1, -1, -1):
            memory = memory + there[:, step : step + 1] * (self._after(vectors[:, step], memory) - memory)
        state = torch.cat([memory, vectors[:, 0]], 1)  # (batch, hidden + width)
        goal = (features[:, 2 * events :] >= 0.5).to(torch.float32)  # (batch, 1)
        query, back = _for_goal(towers.query(state), goal), _for_goal(towers.pointer(state), goal)
        usual = towers.usual[0] + goal * (towers.usual[1] - towers.usual[0])
        same = (seen.unsqueeze(2) == self.ids).to(torch.float32)  # (batch, events, restaurants)
        pointed = (back.unsqueeze(2) * same).sum(1)
        return torch.softmax(torch.matmul(query, self.vectors) + usual + pointed, 1)

    def _after(self, event: Tensor, memory: Tensor) -> Tensor:
        """The unit's memory after an event: (batch, hidden); PyTorch's order of gates: reset, update, new."""
        hidden = self.towers.settings.hidden
        of_event, of_memory, event_bias, memory_bias = self.towers.unit.all_weights[0]
        given = nn.functional.linear(event, of_event, event_bias)
        kept = nn.functional.linear(memory, of_memory, memory_bias)
        reset = torch.sigmoid(given[:, :hidden] + kept[:, :hidden])
        update = torch.sigmoid(given[:, hidden : 2 * hidden] + kept[:, hidden : 2 * hidden])
        new = torch.tanh(given[:, 2 * hidden :] + reset * kept[:, 2 * hidden :])
        return new + update * (memory - new)


def _whole(column: Tensor, largest: int) -> Tensor:
    """Ids as int64; what is missing or below 0 is -1, what is too large is cut."""
    known = torch.where(torch.isnan(column), torch.full_like(column, -1), column)
    return known.clamp(-1, largest).to(torch.int64)


def _for_goal(both: Tensor, goal: Tensor) -> Tensor:
    """The half of (batch, 2 width) that belongs to the goal (batch, 1): (batch, width)."""
    width = both.shape[1] // 2
    return both[:, :width] + goal * (both[:, width:] - both[:, :width])
