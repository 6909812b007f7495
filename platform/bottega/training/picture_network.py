"""A small residual network over pictures, a committee of them, and what goes into the artefact.

Residual blocks as in He et al., "Deep Residual Learning for Image Recognition" (2016), at a size for 64 x 64 pixels and
a thousand pictures: about 300,000 parameters a network.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bottega.training.calibration import Calibration
from bottega.training.export import export_torch
from bottega.training.picture_settings import PictureSettings


class PictureNetwork(nn.Module):
    """(batch, 3, side, side) float32 in 0 to 1, to a logit for each head: (batch, heads) float32."""

    def __init__(self, settings: PictureSettings, heads: int) -> None:
        super().__init__()
        first, *_, last = settings.channels
        self.stem = ConvNorm(3, first, 3, stride=2)
        sizes = pairwise((first, *settings.channels))
        self.blocks = nn.Sequential(*(Block(a, b, stride=1 if i == 0 else 2) for i, (a, b) in enumerate(sizes)))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(last, heads)
        nn.init.zeros_(self.head.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        found = self.blocks(torch.relu(self.stem((pictures - 0.5) * 4)))  # (batch, channels, side / 16, side / 16)
        return self.head(self.dropout(found.mean((2, 3))))


class ConvNorm(nn.Module):
    """A convolution and batch normalisation, which `fold` makes one convolution."""

    def __init__(self, before: int, after: int, size: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(after)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.norm(self.convolution(pictures))

    def fold(self) -> None:
        """Put the normalisation, as it was learned, into the convolution's weights."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution = fuse_conv_bn_eval(self.convolution, self.norm)
            self.norm = nn.Identity()


class Block(nn.Module):
    """Two convolutions, and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(before, after, 3, stride)
        self.second = ConvNorm(after, after, 3, 1)
        same = before == after and stride == 1
        self.around: nn.Module = nn.Identity() if same else ConvNorm(before, after, 1, stride)

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(pictures))) + self.around(pictures))


class Committee(nn.Module):
    """Networks that answer together: (batch, 3 * side * side) float32 to a probability for each head, (batch, heads).

    The mean of their logits, each head calibrated.
    """

    slope: Tensor
    shift: Tensor

    def __init__(self, members: Sequence[PictureNetwork], calibrations: Sequence[Calibration], side: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(copy.deepcopy(member).eval() for member in members)
        for part in self.members.modules():
            if isinstance(part, ConvNorm):
                part.fold()
        self.side = side
        self.register_buffer("slope", torch.tensor([c.slope for c in calibrations], dtype=torch.float32))
        self.register_buffer("shift", torch.tensor([c.shift for c in calibrations], dtype=torch.float32))
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        pictures = pixels.reshape(-1, 3, self.side, self.side)
        logits = sum(member(pictures) for member in self.members) / len(self.members)
        return torch.sigmoid(logits * self.slope + self.shift)

    def to_onnx(self) -> bytes:
        """The committee as ONNX: input `features` (batch, 3 * side * side), output `probability` (batch, heads)."""
        example = np.zeros((2, 3 * self.side * self.side), np.float32)
        return export_torch(self, {"features": example}, ["probability"])
