"""Counting: what followed what, backed off from rare contexts to common ones; the yardstick, and a model of its own.

The estimate of a context mixes its own counts with the next wider context's estimate, the more the fewer times it was
seen and the more different sequels it had (Witten and Bell, "The zero-frequency problem", 1991).
"""

import numpy as np
import torch
from torch import Tensor, nn

from bottega.datasets.sessions import ACTIONS
from bottega.ranking.session_rows import NOBODY, SessionRows, first_events
from bottega.ranking.settings import BackOffSettings
from bottega.training.export import export_torch
from bottega.training.fitted import Fitted


def count_sequels(item: np.ndarray, action: np.ndarray, after: np.ndarray, restaurants: int) -> np.ndarray:
    """How often each restaurant came after each pair: (restaurants, actions, restaurants) float32."""
    counts = np.zeros((restaurants, len(ACTIONS), restaurants), np.float32)
    known = after != NOBODY
    np.add.at(counts, (item[known], action[known], after[known]), 1)
    return counts


def sequels(rows: SessionRows, restaurants: int) -> np.ndarray:
    """`count_sequels` of every event: what was seen next, or chosen."""
    return count_sequels(rows.items.ravel(), rows.actions.ravel(), rows.following().ravel(), restaurants)


def first_sequels(rows: SessionRows, restaurants: int) -> np.ndarray:
    """`count_sequels` of each session's first event: where it ended."""
    first = first_events(rows)
    return count_sequels(first.items[:, 0], first.actions[:, 0], rows.end, restaurants)


def popularity(rows: SessionRows, restaurants: int) -> np.ndarray:
    """How often each restaurant was chosen, and once more: (restaurants,) float64."""
    return np.bincount(rows.end[rows.end != NOBODY], minlength=restaurants) + 1.0


def back_off(counts: np.ndarray, doubt: float) -> np.ndarray:
    """Probabilities of what comes after each pair: (restaurants, actions, restaurants) float32."""
    usual = counts.sum((0, 1)) + 1
    after_item = _mixed(counts.sum(1), (usual / usual.sum())[None], doubt)  # (restaurants, restaurants)
    return _mixed(counts, after_item[:, None], doubt)


def _mixed(counts: np.ndarray, wider: np.ndarray, doubt: float) -> np.ndarray:
    """The counts' own shares, and the wider context's for the rest."""
    total = counts.sum(-1, keepdims=True)
    kinds = np.count_nonzero(counts, axis=-1, keepdims=True)
    own = total / np.maximum(total + doubt * kinds, 1)
    return (own * counts / np.maximum(total, 1) + (1 - own) * wider).astype(np.float32)


class BackOff(nn.Module):
    """(batch, 2 events + 1) float32, as bottega.ranking.towers.Served takes it, to probabilities (batch, restaurants).

    `row` (2, pairs) says which row of `table` each pair has for each goal; unseen pairs of a restaurant share one.
    """

    row: Tensor
    table: Tensor

    def __init__(self, tables: tuple[np.ndarray, np.ndarray], events: int) -> None:
        super().__init__()
        flat = np.concatenate([table.reshape(-1, table.shape[-1]) for table in tables])
        rows, place = np.unique(flat, axis=0, return_inverse=True)
        self.register_buffer("row", torch.from_numpy(place.reshape(-1)))
        self.register_buffer("table", torch.from_numpy(rows))
        self.events, self.restaurants = events, flat.shape[1]

    def forward(self, features: Tensor) -> Tensor:
        item = features[:, 0].clamp(0, self.restaurants - 1)
        action = features[:, self.events].clamp(0, len(ACTIONS) - 1)
        goal = (features[:, 2 * self.events] >= 0.5).to(torch.float32)
        pair = (goal * self.restaurants + item) * len(ACTIONS) + action
        return self.table[self.row[pair.to(torch.int64)]]


def fit_back_off(rows: SessionRows, restaurants: int, events: int, settings: BackOffSettings) -> Fitted:
    """The counts of these sessions as a model: `features` to `probabilities`, as the towers have them."""
    tables = (
        back_off(sequels(rows, restaurants), settings.doubt),
        back_off(first_sequels(rows, restaurants), settings.doubt),
    )
    example = np.zeros((2, 2 * events + 1), np.float32)
    model = export_torch(BackOff(tables, events).eval(), {"features": example}, ["probabilities"])
    return Fitted(model, 1, {"doubt": settings.doubt})
