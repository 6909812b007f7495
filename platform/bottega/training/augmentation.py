"""Augmentation: each picture is seen anew, turned, shifted, in other light, with a part covered."""

import math

import torch
from torch import Tensor

TURN_DEGREES = 15.0
SCALE = 0.2
STRETCH = 0.12
SHIFT = 0.24
"""Of half the side."""
LIGHT = 0.3
COVERED = 0.6
"""Share of the pictures of which a part is covered (DeVries and Taylor, "Cutout", 2017)."""


def augment(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """(batch, 3, side, side) float32 in 0 to 1, and the same; `chance` decides everything."""
    moved = _move(pictures, chance)
    return _cover(_relight(moved, chance), chance).clamp(0, 1)


def _spread(chance: torch.Generator, *shape: int) -> Tensor:
    """Uniform in -1 to 1."""
    return torch.rand(*shape, generator=chance) * 2 - 1


def _move(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """Turned, scaled, stretched, shifted, and half of them mirrored."""
    count = len(pictures)
    angle = _spread(chance, count) * math.radians(TURN_DEGREES)
    scale, stretch = 1 + _spread(chance, count) * SCALE, 1 + _spread(chance, count) * STRETCH
    mirror = torch.where(torch.rand(count, generator=chance) < 0.5, -1.0, 1.0)
    affine = torch.empty(count, 2, 3)
    affine[:, 0, 0] = angle.cos() * scale * stretch * mirror
    affine[:, 0, 1] = -angle.sin() * scale
    affine[:, 1, 0] = angle.sin() * scale * mirror
    affine[:, 1, 1] = angle.cos() * scale / stretch
    affine[:, :, 2] = _spread(chance, count, 2) * SHIFT
    grid = torch.nn.functional.affine_grid(affine, list(pictures.shape), align_corners=False)
    return torch.nn.functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _relight(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """Other saturation, contrast, brightness and colour of the light."""
    count = len(pictures)
    grey = pictures.mean(1, keepdim=True)
    coloured = grey + (pictures - grey) * (1 + _spread(chance, count, 1, 1, 1) * LIGHT * 1.5)
    middle = coloured.mean((1, 2, 3), keepdim=True)
    contrasted = middle + (coloured - middle) * (1 + _spread(chance, count, 1, 1, 1) * LIGHT)
    lamp = _spread(chance, count, 1, 1, 1) * LIGHT / 2 + _spread(chance, count, 3, 1, 1) * LIGHT / 5
    return contrasted + lamp


def _cover(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """A square of one colour somewhere, up to a third of the side."""
    count, _, side, _ = pictures.shape
    middle = torch.randint(0, side, (count, 2, 1), generator=chance)
    half = torch.randint(side // 16, side // 3, (count, 1), generator=chance) / 2
    places = torch.arange(side)[None]  # (1, side)
    down, across = ((places - middle[:, axis]).abs() < half for axis in (0, 1))  # (count, side) each
    covered = down[:, None, :, None] & across[:, None, None, :]
    covered &= torch.rand(count, 1, 1, 1, generator=chance) < COVERED
    return torch.where(covered, torch.rand(count, 3, 1, 1, generator=chance), pictures)
