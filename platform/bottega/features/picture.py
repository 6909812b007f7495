"""What a picture becomes: pixels of one size for a model, and measures of its quality."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from bottega.datasets.photo import decode_picture


@dataclass(frozen=True)
class Thumbnail:
    """The central square of a picture, reduced, and how good the picture is.

    `pixels` (3, side, side) float32 in 0 to 1. `brightness` is the mean and `contrast` the standard deviation of the
    grey pixels, 0 to 1. `sharpness` is the variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", 2000) over the variance of the grey pixels, so that dim light does not count as blur.
    """

    pixels: np.ndarray
    brightness: float
    contrast: float
    sharpness: float


def take_thumbnail(content: bytes, side: int) -> Thumbnail:
    """Decode a JPEG or PNG and measure it. Raises bottega.datasets.photo.BadPicture."""
    image = decode_picture(content)
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    square = image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + edge, top + edge))
    return measure(np.asarray(square, np.float32).transpose(2, 0, 1) / 255)


def measure(pixels: np.ndarray) -> Thumbnail:
    """The measures of pixels (3, side, side) float32 in 0 to 1."""
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), pixels, 1)  # (side, side)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    variance = float(grey.var())
    return Thumbnail(
        np.ascontiguousarray(pixels), float(grey.mean()), variance**0.5, float(laplacian.var()) / max(variance, 1e-6)
    )
