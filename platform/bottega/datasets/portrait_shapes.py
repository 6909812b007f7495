"""Shapes of drawn portraits: a head, what covers it, and what could be taken for a mask or a helmet.

Everything is given in the face's own frame: u to the right, v down, the face's outline is u^2 + v^2 = 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)


@dataclass(frozen=True)
class Pose:
    """Where the face is, in pixels: its centre, half its width and height, roll in radians, and how far it looks aside
    (yaw, -1 to 1)."""

    x: float
    y: float
    width: float
    height: float
    roll: float
    yaw: float


class Pen:
    """Draws in a face's frame."""

    def __init__(self, draw: ImageDraw.ImageDraw, pose: Pose) -> None:
        self._draw = draw
        self._pose = pose

    def polygon(self, points: Sequence[tuple[float, float]] | np.ndarray, colour: Colour) -> None:
        """Fill the polygon with corners (u, v)."""
        self._draw.polygon(self._place(np.asarray(points, float)), fill=colour)

    def oval(self, u: float, v: float, half_width: float, half_height: float, colour: Colour) -> None:
        """Fill an ellipse around (u, v)."""
        ring = np.column_stack([u + half_width * np.cos(_TURN), v + half_height * np.sin(_TURN)])
        self.polygon(ring, colour)

    def arc(self, top: float, bottom: float, half_width: float, colour: Colour, bend: float = 0.0) -> None:
        """Fill the part of an ellipse around the centre with `half_width` between the heights `top` and `bottom`; the
        lower edge hangs by `bend`."""
        across = np.linspace(-1, 1, 15) * half_width
        reach = 1.08 * np.sqrt(np.maximum(1 - (across / (half_width * 1.02)) ** 2, 0))
        upper = np.column_stack([across, np.maximum(-reach, top)])
        lower = np.column_stack([across, np.minimum(reach, bottom + bend * (1 - (across / half_width) ** 2))])
        self.polygon(np.concatenate([upper, lower[::-1]]), colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """A line through points (u, v), `width` in half face widths."""
        pixels = max(1, round(width * self._pose.width))
        self._draw.line(self._place(np.asarray(points, float)), fill=colour, width=pixels)

    def _place(self, points: np.ndarray) -> list[tuple[float, float]]:
        pose = self._pose
        along, down = points[:, 0] * pose.width, points[:, 1] * pose.height
        x = pose.x + along * np.cos(pose.roll) - down * np.sin(pose.roll)
        y = pose.y + along * np.sin(pose.roll) + down * np.cos(pose.roll)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker (factor below 1) or lighter."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def draw_head(pen: Pen, skin: Colour, hair: Colour, clothes: Colour, long_hair: bool) -> None:
    """Shoulders, neck, hair behind the head, ears and the face without features."""
    if long_hair:
        pen.oval(0, 0.15, 1.3, 1.35, hair)
    pen.polygon([(-0.5, 0.6), (0.5, 0.6), (0.55, 1.6), (-0.55, 1.6)], shade(skin, 0.8))
    pen.polygon([(-0.6, 1.25), (0.6, 1.25), (2.0, 1.75), (2.3, 4.0), (-2.3, 4.0), (-2.0, 1.75)], clothes)
    for side in (-1, 1):
        pen.oval(side * 1.0, 0.02, 0.13, 0.22, shade(skin, 0.85))
    pen.oval(0, 0, 1, 1, skin)


def draw_features(pen: Pen, yaw: float, skin: Colour, hair: Colour, iris: Colour, smile: float) -> None:
    """Eyes, brows, nose and mouth; the face looks aside by `yaw`."""
    aside = 0.25 * yaw
    for side in (-1, 1):
        u = aside + side * 0.4 * (1 - 0.2 * abs(yaw))
        pen.oval(u, -0.15, 0.17, 0.085, (240, 238, 232))
        pen.oval(u + 0.05 * yaw, -0.15, 0.075, 0.08, iris)
        pen.line([(u - 0.2, -0.33), (u, -0.39), (u + 0.2, -0.34)], shade(hair, 0.8), 0.07)
    tip = aside * 1.5
    pen.line([(aside, -0.1), (tip - 0.08, 0.24), (tip + 0.1, 0.27)], shade(skin, 0.72), 0.05)
    lips = shade((skin[0], round(skin[1] * 0.72), round(skin[2] * 0.75)), 0.9)
    mouth = [(aside + u, 0.55 - smile * 0.35 * u * u) for u in np.linspace(-0.32, 0.32, 7)]
    pen.line(mouth, lips, 0.12)


def draw_beard(pen: Pen, colour: Colour) -> None:
    """A full beard: covers what a mask would cover, but for the lips."""
    pen.arc(0.36, 1.06, 0.92, colour, 0.1)
    pen.oval(0, 0.58, 0.26, 0.09, shade(colour, 1.9))


def draw_glasses(pen: Pen, yaw: float, colour: Colour, dark: bool) -> None:
    """Glasses, or sun glasses."""
    for side in (-1, 1):
        u = 0.25 * yaw + side * 0.42
        pen.oval(u, -0.13, 0.29, 0.2, colour)
        if not dark:
            pen.oval(u, -0.13, 0.22, 0.14, (205, 210, 214))
    pen.line([(-0.95, -0.17), (0.95, -0.17)], colour, 0.05)


def draw_mask(pen: Pen, yaw: float, colour: Colour, kind: str) -> None:
    """A mask over nose and mouth: `surgical` with folds, `cloth`, or `cup` with a valve."""
    aside = 0.2 * yaw
    top = [(-0.93, 0.1), (aside - 0.35, 0.06), (aside, -0.03), (aside + 0.35, 0.06), (0.93, 0.1)]
    bottom = [(0.84, 0.6), (0.5, 0.97), (aside, 1.1), (-0.5, 0.97), (-0.84, 0.6)]
    for side in (-1, 1):
        pen.line([(side * 0.9, 0.14), (side * 1.04, -0.1)], shade(colour, 1.1), 0.05)
        pen.line([(side * 0.84, 0.56), (side * 1.02, 0.2)], shade(colour, 1.1), 0.05)
    pen.polygon(top + bottom, colour)
    if kind == "surgical":
        for v in (0.32, 0.5, 0.68):
            pen.line([(-0.86, v), (aside, v + 0.06), (0.86, v)], shade(colour, 0.85), 0.04)
    elif kind == "cup":
        pen.line([(aside, -0.02), (aside, 1.08)], shade(colour, 0.85), 0.04)
        pen.oval(aside + 0.4, 0.5, 0.14, 0.14, shade(colour, 0.6))


def draw_lowered_mask(pen: Pen, colour: Colour) -> None:
    """A mask under the chin: it is there, and not worn."""
    pen.polygon([(-0.75, 0.78), (0, 1.0), (0.75, 0.78), (0.6, 1.2), (0, 1.38), (-0.6, 1.2)], colour)


def draw_hand(pen: Pen, skin: Colour) -> None:
    """A hand before the mouth."""
    for i in range(4):
        v = 0.32 + 0.17 * i
        pen.line([(-1.0, v + 0.3), (0.45 - 0.06 * i, v)], shade(skin, 0.92 - 0.05 * (i % 2)), 0.2)


def draw_hair(pen: Pen, colour: Colour) -> None:
    """Short hair."""
    pen.arc(-1.2, -0.55, 1.06, colour, -0.12)


def draw_cap(pen: Pen, colour: Colour) -> None:
    """A cap with a peak."""
    pen.arc(-1.4, -0.52, 1.1, colour)
    pen.polygon([(-0.9, -0.6), (0.9, -0.6), (1.15, -0.4), (0, -0.34), (-1.15, -0.4)], shade(colour, 0.7))


def draw_hood(pen: Pen, colour: Colour) -> None:
    """A hood or head scarf: round like a helmet, and soft."""
    ring = np.column_stack([1.28 * np.cos(_TURN), 1.25 * np.sin(_TURN)])
    hole = np.column_stack([0.84 * np.cos(_TURN), 0.05 + 0.88 * np.sin(_TURN)])
    closed = np.concatenate([ring, ring[:1], hole[:1], hole[::-1]])
    pen.polygon(closed, colour)


def draw_open_helmet(pen: Pen, colour: Colour) -> None:
    """A jet helmet: a shell down to the ears, a rim and a strap."""
    shell = [(1.3 * np.cos(t), -0.12 + 1.22 * np.sin(t)) for t in np.linspace(np.pi, 2 * np.pi, 20)]
    pen.polygon([*shell, (1.3, 0.32), (0.94, 0.32), (0.86, -0.42), (-0.86, -0.42), (-0.94, 0.32), (-1.3, 0.32)], colour)
    pen.line([(-0.88, -0.42), (0.88, -0.42)], shade(colour, 0.55), 0.1)
    pen.oval(-0.45, -0.95, 0.25, 0.12, shade(colour, 1.35))
    pen.line([(-0.95, 0.3), (-0.3, 1.05), (0.3, 1.05), (0.95, 0.3)], (40, 40, 42), 0.07)


def draw_full_helmet(pen: Pen, colour: Colour) -> None:
    """A helmet with a chin bar: the eyes are seen through the opening."""
    ring = np.column_stack([1.36 * np.cos(_TURN), -0.02 + 1.34 * np.sin(_TURN)])
    opening = np.array([(-0.86, -0.42), (0.86, -0.42), (0.9, 0.1), (0.55, 0.24), (-0.55, 0.24), (-0.9, 0.1)])
    pen.polygon(np.concatenate([ring, ring[:1], opening[3:], opening[:4], ring[:1]]), colour)
    pen.oval(-0.5, -0.9, 0.3, 0.14, shade(colour, 1.35))
    for u in (-0.25, 0.0, 0.25):
        pen.line([(u, 0.75), (u, 0.95)], shade(colour, 0.5), 0.08)


def draw_cycle_helmet(pen: Pen, colour: Colour) -> None:
    """A bicycle helmet: a flat shell with slots, and a strap."""
    pen.arc(-1.4, -0.5, 1.16, colour, -0.1)
    for u in (-0.6, -0.2, 0.2, 0.6):
        pen.line([(u * 0.8, -1.0), (u, -0.66)], shade(colour, 0.35), 0.12)
    pen.line([(-0.98, -0.4), (-0.3, 1.03), (0.3, 1.03), (0.98, -0.4)], (45, 45, 48), 0.05)


HELMETS: dict[str, Callable[[Pen, Colour], None]] = {
    "open": draw_open_helmet,
    "full": draw_full_helmet,
    "cycle": draw_cycle_helmet,
}
HATS: dict[str, Callable[[Pen, Colour], None]] = {"hair": draw_hair, "cap": draw_cap, "hood": draw_hood}
