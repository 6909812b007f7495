"""Probes: how much worse pictures change the ranking, and how much of a label the picture's border alone gives away.

A model that reads the framing instead of the face looks good on such data and fails on other pictures (Geirhos et al.,
"Shortcut Learning in Deep Neural Networks", 2020).
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from bottega.training.picture_training import predict

CELLS = 16
"""So many a side; the border is the outermost ring of them."""


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def _dark(image: Image.Image) -> Image.Image:
    return image.point(lambda value: value * 0.35)


def _bright(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, value * 1.6))


def _cropped(image: Image.Image) -> Image.Image:
    cut = round(image.width * 0.15)
    return image.crop((cut, cut, image.width - cut, image.height - cut)).resize(image.size)


def _compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=15)
    return Image.open(buffer).convert("RGB")


def _coarse(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 3, image.height // 3)).resize(image.size)


def _border_covered(image: Image.Image) -> Image.Image:
    covered = Image.new("RGB", image.size, "grey")
    covered.paste(_middle(image), (image.width // CELLS,) * 2)
    return covered


def _centre_covered(image: Image.Image) -> Image.Image:
    covered = image.copy()
    covered.paste("grey", (image.width // CELLS,) * 2 + (image.width * (CELLS - 1) // CELLS,) * 2)
    return covered


def _middle(image: Image.Image) -> Image.Image:
    cut = image.width // CELLS
    return image.crop((cut, cut, image.width - cut, image.height - cut))


PROBES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": _blurred,
    "dark": _dark,
    "bright": _bright,
    "cropped": _cropped,
    "compressed": _compressed,
    "coarse": _coarse,
    "border_covered": _border_covered,
    "centre_covered": _centre_covered,
}


def spoil(pixels: np.ndarray, probe: str) -> np.ndarray:
    """Pictures (rows, 3, side, side) float32 in 0 to 1, each made worse in one way."""
    images = (Image.fromarray(one) for one in (pixels.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8))
    worse = np.stack([np.asarray(PROBES[probe](image), np.float32) for image in images]) / 255
    return np.ascontiguousarray(worse.transpose(0, 3, 1, 2))


def robustness(
    networks: Sequence[nn.Module], pixels: np.ndarray, label: np.ndarray, fold: np.ndarray, head: int = 0
) -> dict[str, float]:
    """AUC of one head on pictures as they are (`as_taken`) and made worse, each by the network of its own fold, which
    did not learn from it. `label` (rows,) is 0 or 1 throughout.
    """
    from sklearn.metrics import roc_auc_score

    found = {}
    for name in ("as_taken", *PROBES):
        seen = torch.from_numpy(pixels if name == "as_taken" else spoil(pixels, name))
        score = np.empty(len(label))
        for own, network in enumerate(networks):
            if (fold == own).any():
                score[fold == own] = predict(network, seen[torch.from_numpy(fold == own)])[:, head]
        found[name] = float(roc_auc_score(label, score))
    return found


def border_auc(pixels: np.ndarray, label: np.ndarray, fold: np.ndarray, seed: int) -> float:
    """AUC of a random forest that sees the border alone, (rows, 3, side, side), judged on the folds that it left out.

    0.5 means that the framing and the background say nothing.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score

    border = _border(pixels)
    score = np.empty(len(label))
    for own in np.unique(fold):
        forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=seed)
        forest.fit(border[fold != own], label[fold != own])
        score[fold == own] = forest.predict_proba(border[fold == own])[:, 1]
    return float(roc_auc_score(label, score))


def _border(pixels: np.ndarray) -> np.ndarray:
    """Mean colours of the cells around the centre: (rows, 3 * cells)."""
    rows, _, side, _ = pixels.shape
    size = side // CELLS
    cells = pixels.reshape(rows, 3, CELLS, size, CELLS, size).mean((3, 5))  # (rows, 3, CELLS, CELLS)
    outside = np.ones((CELLS, CELLS), bool)
    outside[1:-1, 1:-1] = False
    return cells[:, :, outside].reshape(rows, -1)
