"""Pictures as columns: pixels of one size, and measures that tell dark, flat and blurred pictures apart."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bottega.datasets.photo import BadPicture
from bottega.datasets.portraits import draw_portrait
from bottega.features.picture import take_thumbnail
from bottega.features.picture_step import Picture
from bottega.features.steps import Columns, Parts


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def portrait(index: int = 4) -> Image.Image:
    return Image.open(io.BytesIO(draw_portrait(7, index).jpeg)).convert("RGB")


def run(step: Picture, contents: list[bytes]) -> Columns:
    column = np.empty(len(contents), object)
    column[:] = contents
    ready: Columns = {step.input: column}
    step.run(ready, Parts({}, {}, lambda *_: {}, lambda x: x))
    return ready


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    found = take_thumbnail(png(Image.fromarray(pixels)), 64)
    np.testing.assert_array_equal(found.pixels, pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def test_only_the_central_square_is_seen() -> None:
    image = Image.new("RGB", (192, 64), "red")
    image.paste("blue", (64, 0, 128, 64))
    found = take_thumbnail(png(image), 64)
    assert found.pixels[0].max() == 0 and found.pixels[2].min() == 1


def test_measures_follow_light_and_blur() -> None:
    image = portrait()
    plain = take_thumbnail(png(image), 64)
    dark = take_thumbnail(png(image.point(lambda value: value // 4)), 64)
    blurred = take_thumbnail(png(image.filter(ImageFilter.GaussianBlur(3))), 64)
    flat = take_thumbnail(png(Image.new("RGB", (64, 64), "grey")), 64)
    assert dark.brightness == pytest.approx(plain.brightness / 4, rel=0.1)
    assert dark.contrast < 0.4 * plain.contrast
    assert dark.sharpness == pytest.approx(plain.sharpness, rel=0.5)  # dim is not blurred
    assert blurred.sharpness < 0.3 * plain.sharpness
    assert flat.contrast == pytest.approx(0, abs=1e-6) and flat.sharpness == pytest.approx(0, abs=1e-6)


def test_sharpness_is_the_variance_of_the_laplacian_over_the_variance() -> None:
    found = take_thumbnail(draw_portrait(7, 9).jpeg, 64)
    grey = np.einsum("c,cij->ij", [0.299, 0.587, 0.114], found.pixels)
    laplacian = [
        grey[i - 1, j] + grey[i + 1, j] + grey[i, j - 1] + grey[i, j + 1] - 4 * grey[i, j]
        for i in range(1, 63)
        for j in range(1, 63)
    ]
    assert found.sharpness == pytest.approx(np.var(laplacian) / np.var(grey), rel=1e-4)
    assert found.brightness == pytest.approx(grey.mean(), rel=1e-5)


def test_the_step_makes_a_matrix_and_measures_and_a_row_does_not_depend_on_the_batch() -> None:
    step = Picture("picture", 32, "pixels")
    contents = [draw_portrait(7, index).jpeg for index in range(3)]
    together, alone = run(step, contents), run(step, contents[1:2])
    assert together["pixels"].shape == (3, 3 * 32 * 32) and together["pixels"].dtype == np.float32
    assert len(step.features()) == 3 * 32 * 32 and step.features()[7] == "pixels[7]"
    for name in step.makes():
        np.testing.assert_array_equal(together[name][1:2], alone[name])


def test_a_bad_picture_is_refused() -> None:
    with pytest.raises(BadPicture, match="no JPEG or PNG"):
        run(Picture("picture", 32, "pixels"), [draw_portrait(7, 1).jpeg, b"hello"])
