"""Folds of pictures: near-duplicates together, each picture's fold its own affair."""

import io

import numpy as np
from PIL import Image, ImageFilter

from bottega.datasets.portraits import draw_portrait
from bottega.training.folds import assign_folds, clusters, difference_hash


def greys(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.convert("L").resize((64, 64)), float) for image in images])


def portraits(numbers: range) -> list[Image.Image]:
    return [Image.open(io.BytesIO(draw_portrait(7, number).jpeg)).convert("RGB") for number in numbers]


def test_light_blur_and_mirror_leave_a_picture_near_itself() -> None:
    originals = portraits(range(6))
    brighter = [image.point(lambda value: min(255, value * 1.2)) for image in originals]
    softer = [image.filter(ImageFilter.GaussianBlur(0.7)) for image in originals]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in originals]
    cluster = clusters(greys([*originals, *brighter, *softer, *mirrored])).reshape(4, 6)
    assert (cluster == cluster[0]).mean() > 0.8
    assert len(set(cluster[0])) >= 5


def test_bits_say_where_brightness_rises() -> None:
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    bits = difference_hash(np.stack([ramp, ramp[:, ::-1]]))
    assert bits.shape == (2, 64) and bits[0].all() and not bits[1].any()


def test_clusters_share_a_fold_and_folds_are_about_equal() -> None:
    contents = [draw_portrait(3, number).jpeg for number in range(200)]
    cluster = np.arange(200) // 2
    fold = assign_folds(cluster, contents, 3)
    assert (fold[::2] == fold[1::2]).all()
    assert np.bincount(fold, minlength=3).min() > 40


def test_a_fold_does_not_depend_on_the_other_pictures() -> None:
    contents = [draw_portrait(3, number).jpeg for number in range(60)]
    whole = assign_folds(np.arange(60), contents, 3)
    turned = assign_folds(np.arange(30), contents[59:29:-1], 3)
    assert (whole[59:29:-1] == turned).all()
