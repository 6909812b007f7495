"""Pictures from untrusted bytes: every mode becomes RGB, and what is no good picture is refused for its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bottega.datasets.photo import MAX_BYTES, MAX_PIXELS, BadPicture, decode_picture
from bottega.datasets.portraits import draw_portrait


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colourful(side: int = 64) -> Image.Image:
    ramp = np.linspace(0, 255, side)
    return Image.fromarray(np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 128.0), -1).astype(np.uint8))


def refused(content: bytes) -> BadPicture:
    with pytest.raises(BadPicture) as caught:
        decode_picture(content)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing: what a decompression bomb looks like."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_is_decoded_as_it_is(kind: str) -> None:
    decoded = decode_picture(save(colourful(), kind))
    assert decoded.mode == "RGB" and decoded.size == (64, 64)
    assert np.abs(np.asarray(decoded, float) - np.asarray(colourful(), float)).mean() < 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_other_modes_become_rgb_of_the_same_brightness(mode: str) -> None:
    grey = np.full((64, 64), 200, np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "1":
        image = Image.fromarray(np.full((64, 64), 255, np.uint8)).convert("1")
    else:
        image = Image.fromarray(np.stack([grey] * 3, -1)).convert(mode)
    decoded = np.asarray(decode_picture(save(image, "JPEG" if mode == "CMYK" else "PNG")))
    assert decoded.shape == (64, 64, 3)
    assert abs(decoded.mean() - (255 if mode == "1" else 200)) < 3


def test_what_is_transparent_stands_before_grey() -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert np.asarray(decode_picture(save(image, "PNG")))[0, 0].tolist() == [128, 128, 128]


def test_a_picture_taken_sideways_is_turned_upright() -> None:
    image = colourful().resize((96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode_picture(save(image, "JPEG", exif=exif.tobytes())).size == (64, 96)


def test_a_large_jpeg_is_decoded_at_a_reduced_size() -> None:
    decoded = decode_picture(save(colourful(2048), "JPEG"))
    assert decoded.size == (256, 256)


def test_twenty_megapixels_are_refused_from_the_header() -> None:
    found = refused(save(Image.new("RGB", (5000, 4000)), "JPEG"))
    assert found.reason == "too_large" and found.http_status == 413
    assert str(found) == (
        "The picture has 5000 x 4000 pixels, 20.0 megapixels. At most 16 megapixels are taken; send a smaller one."
    )


@pytest.mark.parametrize("side", [4001, 20_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_anything_is_decoded(side: int) -> None:
    assert side * side > MAX_PIXELS
    assert refused(png_header(side, side)).reason in ("too_large", "damaged")


def test_reasons_are_told_apart() -> None:
    jpeg = save(colourful(), "JPEG")
    plain = [
        Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")
    ]  # without a control block before the first
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    cases = {
        b"": "empty",
        b"hello, I am a picture\n" * 100: "not_a_picture",
        save(colourful(), "GIF"): "not_a_picture",
        save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100): "animated",
        save(plain[0], "GIF", save_all=True, append_images=plain[1:]): "animated",
        save(frames[0], "GIF", save_all=True, append_images=frames[1:])[:30]: "not_a_picture",
        save(colourful(), "PNG", save_all=True, append_images=[Image.new("RGB", (64, 64))]): "animated",
        save(colourful(), "BMP"): "not_a_picture",
        save(colourful(), "TIFF"): "not_a_picture",
        jpeg[: len(jpeg) // 2]: "damaged",
        jpeg[:40]: "damaged",
        save(colourful(), "PNG")[:90]: "damaged",
        save(colourful(31), "PNG"): "too_small",
        b"\xff\xd8\xff" + bytes(MAX_BYTES): "too_large",
    }
    assert [refused(content).reason for content in cases] == list(cases.values())
    assert refused(b"").http_status == 422


def test_changed_bytes_are_decoded_or_refused_and_nothing_else() -> None:
    chance = np.random.default_rng(3)
    originals = [draw_portrait(7, 1).jpeg, save(colourful(), "PNG"), save(colourful().convert("P"), "PNG")]
    outcomes = set()
    for round_ in range(600):
        content = bytearray(originals[round_ % 3])
        for at in chance.integers(0, len(content), chance.integers(1, 12)):
            content[at] = chance.integers(256)
        cut = bytes(content[: chance.integers(1, len(content) + 1)]) if round_ % 2 else bytes(content)
        try:
            outcomes.add(decode_picture(cut).mode)
        except BadPicture as bad:
            outcomes.add(bad.reason)
    assert {"RGB", "damaged"} <= outcomes
