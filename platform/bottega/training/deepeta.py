"""A DeepETA-style network: it learns the residual over the pair encoding, the way a post-processing model corrects a
router.

Uber's DeepETA (Hu et al., "DeeprETA: An ETA Post-processing System at Scale", 2022): continuous features are cut into
quantile buckets and embedded, places are hashed into embeddings by several hash functions, linear self-attention mixes
the tokens, a small decoder gives the residual, a calibration layer adds a bias for each segment of trips, and the loss
is an asymmetric Huber loss.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bottega.training.settings import NetworkSettings

_PRIME = 2_147_483_647
_HASHES = ((1_103_515_245, 12_345), (22_695_477, 71_993), (69_069, 362_437))
_ID_LIMIT = 1 << 24


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
