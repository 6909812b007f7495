"""A small network of counts: Poisson's likelihood, several counts of a row at once, and its export to ONNX."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from bottega.progress import Progress, silent
from bottega.training.export import export_torch
from bottega.training.fitted import Fitted
from bottega.training.settings import CountNetworkSettings

TASK = "Training a network of counts"
_IDS = 1024
_LARGEST_LOG = 8.0


class CountNetwork(nn.Module):
    """(batch, features) float32 to expected counts (batch, outputs) float32; null features count as their mean."""

    mean: Tensor
    scale: Tensor
    plain: Tensor

    def __init__(self, features: np.ndarray, counts: np.ndarray, ids: Sequence[int], settings: CountNetworkSettings):
        super().__init__()
        plain = [i for i in range(features.shape[1]) if i not in ids]
        known = ~np.isnan(features[:, plain])
        values, rows = np.where(known, features[:, plain], 0.0), np.maximum(known.sum(axis=0), 1)
        mean = values.sum(axis=0, dtype=np.float64) / rows
        spread = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0, dtype=np.float64) / rows)
        self.ids = list(ids)
        self.register_buffer("plain", torch.tensor(plain))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(1 / np.maximum(spread, 1e-3), dtype=torch.float32))
        self.place = nn.Embedding(_IDS * len(ids), settings.width)
        self.body = nn.Sequential(
            nn.Linear(len(plain) + len(ids) * settings.width, settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, settings.hidden // 2),
            nn.ReLU(),
        )
        self.head = nn.Linear(settings.hidden // 2, counts.shape[1])
        nn.init.normal_(self.place.weight, std=0.05)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = torch.tensor(np.log(counts.mean(axis=0) + 1e-3), dtype=torch.float32)

    def forward(self, features: Tensor) -> Tensor:
        return torch.exp(self.logs(features))

    def logs(self, features: Tensor) -> Tensor:
        """Logarithms of the expected counts, (batch, outputs)."""
        plain = features[:, self.plain]
        scaled = torch.where(torch.isnan(plain), torch.zeros_like(plain), (plain - self.mean) * self.scale)
        parts = [torch.clamp(scaled, -6.0, 6.0)]
        for number, column in enumerate(self.ids):
            safe = torch.nan_to_num(features[:, column], nan=0.0, posinf=0.0, neginf=0.0)
            key = torch.clamp(safe, 0.0, _IDS - 1.0).to(torch.int64) + number * _IDS
            parts.append(self.place(key))
        return torch.clamp(self.head(self.body(torch.cat(parts, dim=1))), -_LARGEST_LOG, _LARGEST_LOG)


def fit_count_network(
    features: np.ndarray,
    counts: np.ndarray,
    tune: tuple[np.ndarray, np.ndarray] | None,
    inputs: Sequence[str],
    settings: CountNetworkSettings,
    *,
    seed: int,
    threads: int,
    length: int | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit the network for `length` epochs (or as the settings say); `tune` only measures the likelihood."""
    epochs, before = length or settings.epochs, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = CountNetwork(features, counts, [inputs.index(name) for name in settings.ids], settings)
            curves = _train(network, features, counts, tune, settings, epochs, progress)
    finally:
        torch.set_num_threads(before)
    params = asdict(settings) | {"ids": ",".join(settings.ids), "seed": seed}
    return Fitted(_export(network, len(inputs)), epochs, params, curves)


def _train(
    network: CountNetwork,
    features: np.ndarray,
    counts: np.ndarray,
    tune: tuple[np.ndarray, np.ndarray] | None,
    settings: CountNetworkSettings,
    epochs: int,
    progress: Progress,
) -> dict[str, tuple[float, ...]]:
    """Train in place; the curves are the loss on the rows and on `tune` after each epoch."""
    batches = -(-len(features) // settings.batch)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=epochs * batches)
    rows, labels = torch.from_numpy(features), torch.from_numpy(np.asarray(counts, np.float32))
    loss = nn.PoissonNLLLoss(log_input=True)
    learned, tuned = [], []
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for i, chosen in enumerate(torch.randperm(len(rows)).split(settings.batch)):
            optimizer.zero_grad()
            cost = loss(network.logs(rows[chosen]), labels[chosen])
            cost.backward()
            optimizer.step()
            schedule.step()
            total += float(cost.detach()) * len(chosen)
            progress(TASK, epoch * batches + i + 1, epochs * batches)
        learned.append(total / len(rows))
        if tune is not None:
            network.eval()
            with torch.no_grad():
                held = torch.from_numpy(np.asarray(tune[1], np.float32))
                tuned.append(float(loss(network.logs(torch.from_numpy(tune[0])), held)))
    return {"train_loss": tuple(learned), "tune_loss": tuple(tuned)}


def _export(network: CountNetwork, columns: int) -> bytes:
    """The network as ONNX: `features` (batch, columns) float32 to `counts` (batch, outputs) float32."""
    network.eval()
    return export_torch(network, {"features": np.zeros((2, columns), np.float32)}, ["counts"])
