"""Training of the two towers, and their export to ONNX."""

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from bottega.progress import Progress, silent
from bottega.ranking.session_rows import SessionRows
from bottega.ranking.settings import TowerSettings
from bottega.ranking.towers import GOALS, Served, Towers
from bottega.training.export import export_torch
from bottega.training.fitted import Fitted

TASK = "Training two towers"


def fit_towers(
    rows: SessionRows,
    labels: np.ndarray,
    settings: TowerSettings,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> tuple[Fitted, Towers]:
    """The towers learned from the sessions, as ONNX and as they are; `labels` (restaurants, labels) of 0 and 1."""
    towers, curve = learn_towers(rows, labels, settings, seed=seed, threads=threads, progress=progress)
    params = asdict(settings) | {"seed": seed}
    return Fitted(export_towers(towers), len(curve), params, {"train_loss": curve}), towers


def learn_towers(
    rows: SessionRows,
    labels: np.ndarray,
    settings: TowerSettings,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> tuple[Towers, tuple[float, ...]]:
    """The towers learned from the sessions, and the mean loss of each epoch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            towers = Towers(labels, settings)
            curve = _fit(towers, rows, progress)
    finally:
        torch.set_num_threads(before)
    return towers, curve


def _fit(towers: Towers, rows: SessionRows, progress: Progress) -> tuple[float, ...]:
    """Train in place; the mean loss of each epoch. Sessions of a length go together, so that little is padding."""
    settings = towers.settings
    columns = [torch.from_numpy(column) for column in (rows.items, rows.actions, rows.following(), rows.end)]
    length = torch.from_numpy(rows.length)
    batches = -(-len(rows) // settings.batch)
    epochs = max(settings.epochs, -(-settings.steps // batches))
    optimizer = torch.optim.AdamW(towers.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=epochs * batches)
    losses = []
    for epoch in range(epochs):
        towers.train()
        total = 0.0
        mixed = length + torch.rand(len(rows)) * 1.5
        parts = torch.argsort(mixed).split(settings.batch)
        for done, at in enumerate(torch.randperm(len(parts)).tolist()):
            chosen = parts[at]
            steps = int(length[chosen].max())
            items, actions, following, end = (column[chosen] for column in columns)
            optimizer.zero_grad()
            loss = _loss(towers, items[:, :steps], actions[:, :steps], following[:, :steps], end)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            progress(TASK, epoch * batches + done + 1, epochs * batches)
        losses.append(total / len(parts))
    return tuple(losses)


def _loss(towers: Towers, items: Tensor, actions: Tensor, following: Tensor, end: Tensor) -> Tensor:
    """Cross-entropy in nats of what followed each event, and, for half as much, of where the session ended: as seen
    after its first event, and after any other one."""
    states, seen = towers.states(items, actions), towers.seen_at(items)
    known = following >= 0
    weight = torch.where((following == end[:, None])[known], towers.settings.last_weight, 1.0)
    scores = towers.scores(states[known], seen[known], GOALS.index("next"))
    loss = nn.functional.cross_entropy(scores, following[known], reduction="none")
    total = (loss * weight).sum() / weight.sum().clamp(min=1)
    rows = torch.nonzero(end >= 0)[:, 0]
    if len(rows):
        length = (items[rows] >= 0).sum(1)
        step = (torch.rand(len(rows)) * length).long()
        row, step = torch.cat([rows, rows]), torch.cat([torch.zeros_like(step), step])
        scores = towers.scores(states[row, step], seen[row, step], GOALS.index("end"))
        total = total + 0.5 * nn.functional.cross_entropy(scores, end[row])
    return total


def export_towers(towers: Towers) -> bytes:
    """The towers as ONNX: `features` (batch, 2 events + 1) float32 to `probabilities` (batch, restaurants) float32."""
    towers.eval()
    example = np.full((2, 2 * towers.settings.events + 1), -1, np.float32)
    example[:, 0], example[:, towers.settings.events] = 1, 0
    return export_torch(Served(towers).eval(), {"features": example}, ["probabilities"])


def vectors(towers: Towers, rows: SessionRows) -> tuple[np.ndarray, np.ndarray]:
    """What a nearest-neighbour index holds and is asked, for the goal `next`: restaurants (restaurants, width + 1) and
    queries (sessions, width + 1) whose product is the score without the pointer."""
    towers.eval()
    with torch.no_grad():
        index = torch.cat([towers.restaurants(), towers.usual[0][:, None]], 1)
        states = towers.states(torch.from_numpy(rows.items), torch.from_numpy(rows.actions))
        last = states[torch.arange(len(rows)), torch.from_numpy(rows.length) - 1]
        query = towers.query(last)[:, : towers.settings.width]
        queries = torch.cat([query, torch.ones(len(rows), 1)], 1)
    return index.numpy(), queries.numpy()
