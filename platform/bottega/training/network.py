"""Training of the DeepETA-style network, and its export to ONNX."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from bottega.progress import Progress, silent
from bottega.training.deepeta import DeepEta
from bottega.training.export import export_torch
from bottega.training.fitted import Fitted, Rows
from bottega.training.settings import NetworkSettings

TASK = "Training DeepETA"


def fit_network(
    rows: Rows,
    tune: Rows | None,
    inputs: Sequence[str],
    settings: NetworkSettings,
    *,
    seed: int,
    threads: int,
    length: int | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit the network for `length` epochs (or as the settings say) and export it; `tune` only measures the error."""
    epochs = length or settings.epochs
    network, curves = train_network(rows, tune, inputs, settings, epochs, seed=seed, threads=threads, progress=progress)
    params = asdict(settings) | {"ids": ",".join(settings.ids), "seed": seed}
    return Fitted(export_network(network, len(inputs)), epochs, params, curves)


def train_network(
    rows: Rows,
    tune: Rows | None,
    inputs: Sequence[str],
    settings: NetworkSettings,
    epochs: int,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> tuple[DeepEta, dict[str, tuple[float, ...]]]:
    """A trained network, with its training loss and its error on `tune` after each epoch.

    The learning rate rises and falls once over all epochs, so the last epoch is the one to keep.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = DeepEta(inputs, settings, quantile_edges(rows.features, inputs, settings))
            curves = _fit(network, rows, tune, epochs, progress)
    finally:
        torch.set_num_threads(before)
    return network, curves


def _fit(
    network: DeepEta, rows: Rows, tune: Rows | None, epochs: int, progress: Progress
) -> dict[str, tuple[float, ...]]:
    """Train in place; the curves are the training loss and the error on `tune` after each epoch."""
    settings = network.settings
    batches = -(-len(rows.label) // settings.batch)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=epochs * batches)
    features, residual, weight = (
        torch.from_numpy(np.asarray(a, np.float32)) for a in (rows.features, rows.residual, rows.weight)
    )
    weight = weight / weight.mean()
    losses, errors = [], []
    for epoch in range(epochs):
        total = 0.0
        network.train()
        for i, chosen in enumerate(torch.randperm(len(residual)).split(settings.batch)):
            optimizer.zero_grad()
            predicted = network(features[chosen]).squeeze(1)
            loss = (weight[chosen] * asymmetric_huber(predicted, residual[chosen], settings)).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
            progress(TASK, epoch * batches + i + 1, epochs * batches)
        losses.append(total / len(residual))
        if tune is not None:
            errors.append(tune.mean_abs_error(_predict(network, tune.features)))
    return {"train_loss": tuple(losses), "tune_mae": tuple(errors)}


def asymmetric_huber(predicted: Tensor, actual: Tensor, settings: NetworkSettings) -> Tensor:
    """Huber's loss, times `asymmetry` where the answer is too low: (batch,)."""
    loss = nn.functional.huber_loss(predicted, actual, reduction="none", delta=settings.huber_width)
    return torch.where(predicted < actual, loss * settings.asymmetry, loss)


def quantile_edges(features: np.ndarray, inputs: Sequence[str], settings: NetworkSettings) -> np.ndarray:
    """Edges of the quantile buckets of each continuous column: (columns, buckets - 1)."""
    continuous = features[:, [i for i, name in enumerate(inputs) if name not in settings.ids]]
    steps = np.linspace(0, 1, settings.buckets + 1)[1:-1]
    edges = [np.quantile(known, steps) if len(known := c[~np.isnan(c)]) else np.zeros(len(steps)) for c in continuous.T]
    return np.stack(edges)


def _predict(network: DeepEta, features: np.ndarray) -> np.ndarray:
    """Residuals (rows,) of model inputs (rows, features)."""
    network.eval()
    with torch.no_grad():
        parts = [network(part).squeeze(1) for part in torch.from_numpy(features).split(8192)]
    return torch.cat(parts).numpy().astype(np.float64)


def export_network(network: DeepEta, columns: int) -> bytes:
    """The network as ONNX: input `features` (batch, columns) float32, output `residual` (batch, 1) float32."""
    network.eval()
    return export_torch(network, {"features": np.zeros((2, columns), np.float32)}, ["residual"])
