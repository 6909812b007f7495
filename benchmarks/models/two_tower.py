"""Two towers: a user's vector against those of 10,000 items, of which the 100 best are the answer; 1.9 million weights.

After Covington et al., "Deep Neural Networks for YouTube Recommendations", 2016: the item tower has run before, its
vectors are a table.
"""

import torch
from torch import Tensor, nn

USERS, ITEMS, BEST = 20_000, 10_000, 100
CONTEXT, WIDTH = 16, 64


class TwoTower(nn.Module):
    """(batch,) int64 user ids below 20,000 and (batch, 16) float32 context, to (batch, 100) scores and int64 items."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(USERS, WIDTH)
        self.tower = nn.Sequential(nn.Linear(WIDTH + CONTEXT, 128), nn.ReLU(), nn.Linear(128, WIDTH))
        self.items = nn.Parameter(nn.functional.normalize(torch.randn(ITEMS, WIDTH)))

    def forward(self, user: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        vector = self.tower(torch.cat([self.user(user), context], dim=1))  # (batch, width)
        scores = torch.matmul(nn.functional.normalize(vector), self.items.T)  # (batch, items)
        best = torch.topk(scores, BEST)
        return best.values, best.indices
