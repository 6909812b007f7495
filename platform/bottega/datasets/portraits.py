"""Drawn portraits: invented pictures of drivers with known truth, so that verification works without anybody's photos.

They are drawings and look like it: ovals and polygons in varied light, pose, skin, background, crop and sharpness. Some
are hard on purpose: a hand or a beard where a mask would be, a mask under the chin, a hood instead of a helmet.
"""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from bottega.datasets.portrait_shapes import (
    HATS,
    HELMETS,
    Colour,
    Pen,
    Pose,
    draw_beard,
    draw_features,
    draw_glasses,
    draw_hand,
    draw_head,
    draw_lowered_mask,
    draw_mask,
    shade,
)
from bottega.progress import Progress, silent

PIXELS = 96
"""Side of a picture."""
TONES: dict[str, tuple[Colour, ...]] = {
    "light": ((246, 215, 195), (235, 198, 170), (224, 184, 150)),
    "medium": ((205, 155, 115), (188, 136, 98), (165, 115, 78)),
    "dark": ((128, 84, 56), (98, 62, 42), (70, 45, 33)),
}
LIGHTS = ("day", "dim", "backlit")
FRAMINGS = {"close": (0.36, 0.46), "middle": (0.24, 0.34), "far": (0.15, 0.21)}
"""Half the face's width as a share of the picture's side."""

_FINE = 2
_HAIR: tuple[Colour, ...] = ((28, 22, 20), (62, 40, 26), (120, 84, 50), (196, 160, 100), (140, 138, 136))
_MASKS: tuple[Colour, ...] = ((160, 205, 225), (236, 238, 238), (40, 42, 48), (196, 66, 70), (70, 92, 150))


@dataclass(frozen=True)
class Portrait:
    """A picture as JPEG bytes, what it shows, and the groups that error is told by."""

    jpeg: bytes
    mask: bool
    helmet: bool
    tone: str
    light: str
    framing: str


def draw_portrait(seed: int, index: int) -> Portrait:
    """The portrait with this number: the same for the same seed and index, whatever else is drawn."""
    chance = np.random.default_rng((seed, index))
    mask, helmet = bool(chance.random() < 0.5), bool(chance.random() < 0.5)
    tone, light = str(chance.choice(list(TONES))), str(chance.choice(LIGHTS, p=(0.6, 0.25, 0.15)))
    framing = str(chance.choice(list(FRAMINGS), p=(0.35, 0.4, 0.25)))
    side = PIXELS * _FINE
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    _draw_background(draw, chance, side)
    _draw_person(draw, chance, _pose(chance, framing, side), tone, mask, helmet)
    lit = _light(image.reduce(_FINE), chance, light)
    blurred = lit.filter(ImageFilter.GaussianBlur(float(chance.exponential(0.5))))
    buffer = io.BytesIO()
    blurred.save(buffer, "JPEG", quality=int(chance.integers(55, 95)))
    return Portrait(buffer.getvalue(), mask, helmet, tone, light, framing)


def draw_portraits(seed: int, count: int, *, label: str, first: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """Portraits `first` to `first + count - 1` as the table of a picture dataset whose label is `mask` or `helmet`.

    Columns: image_id, label (int8), jpeg (bytes), tone, light, framing.
    """
    rows = []
    for index in range(first, first + count):
        drawn = draw_portrait(seed, index)
        said = drawn.mask if label == "mask" else drawn.helmet
        rows.append((f"drawn-{seed}-{index}", int(said), drawn.jpeg, drawn.tone, drawn.light, drawn.framing))
        progress("draw portraits", index - first + 1, count)
    table = pd.DataFrame(rows, columns=["image_id", "label", "jpeg", "tone", "light", "framing"])
    return table.astype({"label": np.int8})


def _pose(chance: np.random.Generator, framing: str, side: int) -> Pose:
    width = side * chance.uniform(*FRAMINGS[framing])
    free = side / 2 - width * 0.9
    x, y = side / 2 + chance.uniform(-0.5, 0.5, 2) * max(free, side * 0.1)
    return Pose(x, y, width, width * chance.uniform(1.2, 1.4), chance.normal(0, 0.13), chance.uniform(-1, 1))


def _draw_background(draw: ImageDraw.ImageDraw, chance: np.random.Generator, side: int) -> None:
    """A wall or a street: bands and blocks of colour."""
    draw.rectangle((0, 0, side, side), fill=_colour(chance, 60, 240))
    draw.rectangle((0, chance.uniform(0.4, 0.9) * side, side, side), fill=_colour(chance, 40, 200))
    for _ in range(chance.integers(0, 7)):
        x, y = chance.uniform(-0.2, 1, 2) * side
        wide, high = chance.uniform(0.05, 0.5, 2) * side
        shape = draw.ellipse if chance.random() < 0.4 else draw.rectangle
        shape((x, y, x + wide, y + high), fill=_colour(chance, 20, 240))


def _draw_person(
    draw: ImageDraw.ImageDraw, chance: np.random.Generator, pose: Pose, tone: str, mask: bool, helmet: bool
) -> None:
    pen = Pen(draw, pose)
    skin = shade(TONES[tone][chance.integers(3)], chance.uniform(0.95, 1.05))
    hair, cover = _HAIR[chance.integers(len(_HAIR))], _MASKS[chance.integers(len(_MASKS))]
    cover = shade(cover, chance.uniform(0.8, 1.1))
    draw_head(pen, skin, hair, _colour(chance, 20, 220), long_hair=bool(chance.random() < 0.4))
    draw_features(pen, pose.yaw, skin, hair, _colour(chance, 20, 120), chance.uniform(-0.5, 1))
    instead = chance.choice(["", "beard", "hand", "lowered"], p=(0.55, 0.2, 0.1, 0.15))
    if chance.random() < 0.3:
        draw_glasses(pen, pose.yaw, _colour(chance, 10, 90), dark=bool(chance.random() < 0.4))
    if mask:
        draw_mask(pen, pose.yaw, cover, str(chance.choice(["surgical", "cloth", "cup"])))
    elif instead == "beard":
        draw_beard(pen, shade(hair, 0.9))
    elif instead == "hand":
        draw_hand(pen, skin)
    elif instead == "lowered":
        draw_lowered_mask(pen, cover)
    kinds = HELMETS if helmet else HATS
    kind = str(chance.choice(list(kinds)))
    kinds[kind](pen, hair if kind == "hair" else _colour(chance, 20, 240))


def _light(image: Image.Image, chance: np.random.Generator, light: str) -> Image.Image:
    """The picture in its light: strength, direction, colour of the lamp, noise of the sensor."""
    pixels: np.ndarray = np.asarray(image, np.float32) / 255  # (side, side, 3)
    strength = {"day": chance.uniform(0.8, 1.15), "dim": chance.uniform(0.25, 0.5), "backlit": chance.uniform(0.4, 0.6)}
    slope = chance.uniform(-0.35, 0.35)
    across = 1 + slope * np.linspace(-1, 1, PIXELS, dtype=np.float32)[None, :, None]
    lamp = 1 + chance.uniform(-0.12, 0.12, 3).astype(np.float32)
    pixels = pixels * across * lamp * strength[light]
    if light == "backlit":
        grid = np.linspace(-1, 1, PIXELS, dtype=np.float32)
        pixels = pixels + (0.45 * np.clip(np.hypot(grid[:, None], grid[None, :]) - 0.5, 0, 1))[:, :, None]
    pixels = pixels + chance.normal(0, chance.uniform(0.005, 0.03), pixels.shape).astype(np.float32)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _colour(chance: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(part) for part in chance.integers(low, high, 3))
    return red, green, blue
