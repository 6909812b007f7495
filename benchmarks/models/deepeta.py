"""DeepETA: ids and continuous features as 17 tokens of 64, two linear-attention blocks, a decoder; 2.1 million weights.

After Hu et al., "DeeprETA: An ETA Post-processing System at Scale", 2022, and Katharopoulos et al., "Transformers are
RNNs", 2020.
"""

import torch
from torch import Tensor, nn

IDS, NUMBERS = 10, 7
ROWS_PER_ID = 2_900
WIDTH = 64


class DeepEta(nn.Module):
    """(batch, 10) int64 ids, each below 2900, and (batch, 7) float32 numbers, to (batch, 1) float32."""

    offset: Tensor

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.register_buffer("offset", torch.arange(IDS) * ROWS_PER_ID)
        self.table = nn.Embedding(IDS * ROWS_PER_ID, WIDTH)
        self.scale, self.shift = (nn.Parameter(torch.randn(NUMBERS, WIDTH) * 0.1) for _ in range(2))
        self.blocks = nn.Sequential(Block(WIDTH), Block(WIDTH))
        self.hidden = nn.Linear((IDS + NUMBERS) * WIDTH, hidden)
        self.decoder = nn.Linear(hidden, 1)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        places = self.table(ids + self.offset)  # (batch, 10, width)
        values = numbers.unsqueeze(2) * self.scale + self.shift  # (batch, 7, width)
        mixed = self.blocks(torch.cat([places, values], dim=1))  # (batch, 17, width)
        return self.decoder(torch.relu(self.hidden(mixed.flatten(1))))


class Block(nn.Module):
    """Linear attention, then a feed-forward layer; each on normalised tokens and added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.out(self._attend(self.before_attention(tokens)))
        return tokens + self.narrow(nn.functional.gelu(self.wide(self.before_forward(tokens))))

    def _attend(self, normal: Tensor) -> Tensor:
        query = nn.functional.elu(self.query(normal)) + 1  # (batch, tokens, width)
        key = nn.functional.elu(self.key(normal)) + 1
        mixed = torch.matmul(query, torch.matmul(key.transpose(1, 2), self.value(normal)))
        total = torch.matmul(query, key.sum(1).unsqueeze(2))  # (batch, tokens, 1)
        return mixed / total
