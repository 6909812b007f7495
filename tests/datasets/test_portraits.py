"""Drawn portraits: the same for the same seed and number, balanced, and showing what they say they show."""

import io

import numpy as np
from PIL import Image

from bottega.datasets.portraits import FRAMINGS, LIGHTS, PIXELS, TONES, draw_portrait, draw_portraits


def test_a_portrait_depends_on_its_seed_and_number_alone() -> None:
    alone = draw_portrait(7, 41)
    among = draw_portraits(7, 3, label="mask", first=40)
    assert among["jpeg"][1] == alone.jpeg and among["label"][1] == alone.mask
    assert draw_portrait(8, 41).jpeg != alone.jpeg != draw_portrait(7, 42).jpeg


def test_portraits_are_small_pictures_of_every_group_and_both_labels() -> None:
    drawn = [draw_portrait(7, index) for index in range(150)]
    assert {Image.open(io.BytesIO(one.jpeg)).size for one in drawn} == {(PIXELS, PIXELS)}
    assert {one.tone for one in drawn} == set(TONES)
    assert {one.light for one in drawn} == set(LIGHTS)
    assert {one.framing for one in drawn} == set(FRAMINGS)
    for label in ("mask", "helmet"):
        assert 0.35 < np.mean([getattr(one, label) for one in drawn]) < 0.65


def test_dim_portraits_are_darker() -> None:
    drawn = [draw_portrait(7, index) for index in range(150)]
    brightness = {
        light: np.mean([np.asarray(Image.open(io.BytesIO(one.jpeg))).mean() for one in drawn if one.light == light])
        for light in LIGHTS
    }
    assert brightness["dim"] < 0.6 * brightness["day"]


def test_labels_do_not_depend_on_groups_beyond_chance() -> None:
    table = draw_portraits(11, 300, label="mask")
    for group in ("tone", "light", "framing"):
        shares = table.groupby(group)["label"].mean()
        assert shares.between(0.3, 0.7).all(), shares
