"""A picture from untrusted bytes: what it must be is checked on its header, before a pixel is decoded."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from bottega.errors import InvalidInput

MAX_BYTES = 10_000_000
MAX_PIXELS = 16_000_000
MIN_SIDE = 32
REASONS = ("empty", "not_a_picture", "animated", "too_large", "too_small", "damaged")
"""Why a picture is refused, in the order in which the rules are tried."""

_OTHERS = {b"GIF8": "a GIF", b"RIFF": "a WebP", b"BM": "a BMP", b"II*\0": "a TIFF", b"MM\0*": "a TIFF"}
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_ENOUGH = 256
_STILL = "Send one still picture, JPEG or PNG."
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, OverflowError)
"""What Pillow raises for files that are cut off or wrong inside."""


class BadPicture(InvalidInput):
    """Bytes that are no picture which is taken; `reason` is one of REASONS."""

    def __init__(self, reason: str, what: str, *, next_step: str) -> None:
        super().__init__(what, next_step=next_step)
        self.reason = reason
        self.http_status = 413 if reason == "too_large" else 422


def decode_picture(content: bytes) -> Image.Image:
    """The picture as RGB, upright, whole; a large JPEG is decoded at a reduced size of at least 256 pixels a side.

    Grey, CMYK, palette and 16-bit pictures become RGB; what is transparent stands before grey. Raises BadPicture.
    """
    image = _open(content)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPicture(
            "too_large",
            f"The picture has {width} x {height} pixels, {width * height / 1e6:.1f} megapixels.",
            next_step=f"At most {MAX_PIXELS // 1_000_000} megapixels are taken; send a smaller one.",
        )
    if min(width, height) < MIN_SIDE:
        raise BadPicture(
            "too_small",
            f"The picture has {width} x {height} pixels.",
            next_step=f"Each side must have at least {MIN_SIDE}.",
        )
    try:
        image.draft("RGB", (_ENOUGH, _ENOUGH))  # JPEG only: fewer pixels are decoded
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except _DAMAGE as error:
        raise _damaged(error) from None


def _open(content: bytes) -> Image.Image:
    """The picture's header, read by the one decoder that its first bytes ask for."""
    if not content:
        raise BadPicture("empty", "The picture has no bytes.", next_step="Send the content of a JPEG or PNG file.")
    if len(content) > MAX_BYTES:
        raise BadPicture(
            "too_large",
            f"The picture has {len(content) / 1e6:.1f} MB.",
            next_step=f"At most {MAX_BYTES // 1_000_000} MB are taken; send a smaller one.",
        )
    if content.startswith(_JPEG):
        decoder: type[JpegImageFile] | type[PngImageFile] = JpegImageFile
    elif content.startswith(_PNG):
        decoder = PngImageFile
    else:
        raise _foreign(content)
    try:
        image = decoder(io.BytesIO(content))
    except _DAMAGE as error:
        raise _damaged(error) from None
    if getattr(image, "is_animated", False):
        raise BadPicture("animated", "The picture is animated.", next_step=_STILL)
    return image


def _foreign(content: bytes) -> BadPicture:
    kind = next((name for start, name in _OTHERS.items() if content.startswith(start)), "")
    if content.startswith(b"GIF8") and _moves(content):
        return BadPicture("animated", "The picture is an animated GIF.", next_step=_STILL)
    what = f"The file is {kind}, not a JPEG or PNG picture." if kind else "The file is no JPEG or PNG picture."
    return BadPicture("not_a_picture", what, next_step="The content decides, not the file's name.")


def _moves(gif: bytes) -> bool:
    """Whether a GIF has a second picture; it is not decoded."""
    try:
        return bool(GifImageFile(io.BytesIO(gif)).is_animated)
    except _DAMAGE:
        return False


def _damaged(error: Exception) -> BadPicture:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return BadPicture("damaged", f"The picture is cut off or damaged: {said}.", next_step="Take or save it again.")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        behind = Image.new("RGBA", clear.size, (128, 128, 128, 255))
        return Image.alpha_composite(behind, clear).convert("RGB")
    if image.mode.startswith("I"):  # 16 bits a pixel
        return Image.fromarray((np.asarray(image, np.float32) / 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
