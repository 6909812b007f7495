"""Training of the picture networks: each member of the committee learns from all folds but its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bottega.progress import Progress, silent
from bottega.training.augmentation import augment
from bottega.training.picture_network import PictureNetwork
from bottega.training.picture_settings import PictureSettings

TASK = "Training picture networks"
_LEAST = 8


@dataclass(frozen=True)
class Members:
    """The trained networks, the logits (rows, heads) that each picture got from the one that did not learn from it, and
    each network's training loss after each epoch."""

    networks: tuple[PictureNetwork, ...]
    logits: np.ndarray
    curves: dict[str, tuple[float, ...]]


def train_members(
    pictures: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    settings: PictureSettings,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> Members:
    """Train one network for each fold of pictures (rows, 3, side, side) float32.

    `labels` (rows, heads) float32 are 0, 1, or NaN where a head's label is not known: a picture teaches only the heads
    whose labels it has. `fold` (rows,) is 0 to members - 1.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            x, y = torch.from_numpy(pictures), torch.from_numpy(labels)
            logits = np.empty(labels.shape, np.float32)
            networks, curves = [], {}
            for member in range(settings.members):
                torch.manual_seed(seed * 1000 + member)
                own = torch.from_numpy(fold != member)
                network, curve = _train_one(x[own], y[own], settings, member, progress)
                logits[fold == member] = predict(network, x[~own])
                networks.append(network)
                curves[f"train_loss_{member}"] = curve
    finally:
        torch.set_num_threads(before)
    return Members(tuple(networks), logits, curves)


def predict(network: nn.Module, pictures: Tensor) -> np.ndarray:
    """What a network says of pictures, in parts that fit the cache."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in pictures.split(128)]).numpy()


def _train_one(
    pictures: Tensor, labels: Tensor, settings: PictureSettings, member: int, progress: Progress
) -> tuple[PictureNetwork, tuple[float, ...]]:
    """One network; its learning rate rises and falls once over all epochs, so the last one is the one to keep."""
    network = PictureNetwork(settings, labels.shape[1]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    chance = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
    batches = -(-len(pictures) // settings.batch)
    steps = settings.epochs * batches
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps, pct_start=0.25)
    losses = []
    for epoch in range(settings.epochs):
        network.train()
        total = 0.0
        for i, chosen in enumerate(torch.randperm(len(pictures), generator=chance).split(settings.batch)):
            if len(chosen) >= min(_LEAST, len(pictures)):  # the statistics of fewer pictures are none
                optimizer.zero_grad()
                seen = augment(pictures[chosen], chance).contiguous(memory_format=torch.channels_last)
                loss = label_loss(network(seen), labels[chosen], settings.smoothing)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(chosen)
            schedule.step()
            progress(TASK, member * steps + epoch * batches + i + 1, settings.members * steps)
        losses.append(total / len(pictures))
    return network.eval(), tuple(losses)


def label_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy over the known labels (rows, heads), each moved by `smoothing` / 2 towards the other."""
    known = ~labels.isnan()
    target = torch.where(known, labels, 0.5) * (1 - smoothing) + smoothing / 2
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def stack_pictures(thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels of pictures side by side, (rows, 3, side, side) float32."""
    return np.ascontiguousarray(np.stack(thumbnails), np.float32)
