"""A DeepETA-style network: it learns the residual over the pair encoding, the way a post-processing model corrects a
router.

Uber's DeepETA (Hu et al., "DeeprETA: An ETA Post-processing System at Scale", 2022): continuous features are cut into
quantile buckets and embedded, places are hashed into embeddings by several hash functions, linear self-attention mixes
the tokens, a small decoder gives the residual, a calibration layer adds a bias for each segment of trips, and the loss
is an asymmetric Huber loss.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bottega.progress import Progress, silent
from bottega.training.fitted import Fitted, Rows

TASK = "Training DeepETA"
OPSET = 18
_PRIME = 2_147_483_647
_HASHES = ((1_103_515_245, 12_345), (22_695_477, 71_993), (69_069, 362_437))
_ID_LIMIT = 1 << 24


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes and training of the network.

    `ids` name the input columns that hold ids, `segment` the column of small
    whole numbers below `segments` that the calibration layer corrects by; the other inputs are continuous.
    `asymmetry` above 1 makes an answer that is too low cost more; `huber_width` is in log units.
    """

    ids: tuple[str, ...]
    segment: str
    segments: int
    width: int = 16
    buckets: int = 32
    hash_size: int = 512
    hidden: int = 128
    dropout: float = 0.2
    epochs: int = 6
    batch: int = 1024
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    huber_width: float = 0.2
    asymmetry: float = 1.1

    def quick(self) -> "NetworkSettings":
        """The same with fewer epochs."""
        return replace(self, epochs=max(1, self.epochs // 2))


class DeepEta(nn.Module):
    """(batch, features) float32 to the residual (batch, 1) float32; ids are cast inside, so any float is safe."""

    continuous: Tensor
    edges: Tensor
    missing: Tensor
    offset: Tensor

    def __init__(self, inputs: Sequence[str], settings: NetworkSettings, edges: np.ndarray) -> None:
        super().__init__()
        continuous = [i for i, name in enumerate(inputs) if name not in settings.ids]
        self.ids = [inputs.index(name) for name in settings.ids]
        self.segment = inputs.index(settings.segment)
        self.settings = settings
        columns, width = len(continuous), settings.width
        self.register_buffer("continuous", torch.tensor(continuous))
        self.register_buffer("missing", torch.tensor(settings.buckets))
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32))  # (columns, buckets - 1)
        self.register_buffer("offset", torch.arange(columns) * (settings.buckets + 1))
        self.bucket = nn.Embedding(columns * (settings.buckets + 1), width)
        tokens = len(self.ids)
        self.place = nn.Embedding(tokens * len(_HASHES) * settings.hash_size, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.attention = LinearAttention(width)
        self.hidden = nn.Linear((columns + tokens) * width, settings.hidden)
        self.decoder = nn.Linear(settings.hidden, 1)
        self.calibration = nn.Embedding(settings.segments, 1)
        for table in (self.bucket, self.place):
            nn.init.normal_(table.weight, std=0.05)
        for part in (self.calibration.weight, self.decoder.weight, self.decoder.bias):
            nn.init.zeros_(part)

    def forward(self, features: Tensor) -> Tensor:
        tokens = torch.cat([self._buckets(features), self._places(features)], dim=1)  # (batch, tokens, width)
        mixed = self.attention(self.dropout(tokens))
        flat = mixed.reshape(-1, self.hidden.in_features)
        residual = self.decoder(torch.relu(self.hidden(flat)))  # (batch, 1)
        return residual + self.calibration(self._segment(features))

    def _buckets(self, features: Tensor) -> Tensor:
        """Quantile buckets; a missing value has a bucket of its own: (batch, columns, width)."""
        values = features.index_select(1, self.continuous)  # (batch, columns)
        bucket = (values.unsqueeze(2) >= self.edges).to(torch.int64).sum(2)  # (batch, columns)
        bucket = torch.where(torch.isnan(values), self.missing, bucket)
        return self.bucket(bucket + self.offset)

    def _places(self, features: Tensor) -> Tensor:
        """Each id hashed by several functions, their embeddings added up: (batch, ids, width)."""
        ids = [self._whole(features[:, i]) for i in self.ids]  # (batch,) int64 each
        tokens = []
        for at, key in enumerate(ids):
            slots = [
                torch.remainder(torch.remainder(key * a + b, _PRIME), self.settings.hash_size)
                + (at * len(_HASHES) + h) * self.settings.hash_size
                for h, (a, b) in enumerate(_HASHES)
            ]
            tokens.append(self.place(torch.stack(slots, 1)).sum(1))  # (batch, width)
        return torch.stack(tokens, 1)

    def _segment(self, features: Tensor) -> Tensor:
        return self._whole(features[:, self.segment]).clamp(0, self.settings.segments - 1)

    @staticmethod
    def _whole(column: Tensor) -> Tensor:
        """An id column as int64; a missing value is 0, a value out of range is cut."""
        known = torch.where(torch.isnan(column), torch.zeros_like(column), column)
        return known.clamp(-_ID_LIMIT, _ID_LIMIT).to(torch.int64)


class LinearAttention(nn.Module):
    """Self-attention in linear time: phi(q) (phi(k)' v), with phi = elu + 1 (Katharopoulos et al., 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm(tokens)  # (batch, tokens, width)
        query = nn.functional.elu(self.query(normal)) + 1
        key = nn.functional.elu(self.key(normal)) + 1
        mixed = torch.matmul(query, torch.matmul(key.transpose(1, 2), self.value(normal)))
        total = torch.matmul(query, key.sum(1).unsqueeze(2))  # (batch, tokens, 1)
        return tokens + mixed / total


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
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it warns that torchvision is not installed
        with warnings.catch_warnings():
            # torch's own export code uses what its pytree module deprecates.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            program = torch.onnx.export(
                network,
                (torch.zeros((2, columns)),),
                input_names=["features"],
                output_names=["residual"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()
