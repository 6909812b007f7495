"""The step that turns pictures, as bytes of a file, into pixels for a model and measures of their quality."""

import numpy as np

from bottega.features.steps import Columns, Parts, Step


class Picture(Step, frozen=True, tag="picture"):
    """A column of JPEG or PNG files to a matrix of their pixels, (batch, 3 * side * side) float32 in 0 to 1, and three
    columns of quality, as bottega.features.picture.Thumbnail defines them.

    The bytes stay in memory, and only as long as the request. Raises BadPicture for a file that is no good picture.
    """

    input: str
    side: int
    output: str
    brightness: str = "brightness"
    contrast: str = "contrast"
    sharpness: str = "sharpness"

    def reads(self) -> tuple[str, ...]:
        return (self.input,)

    def makes(self) -> tuple[str, ...]:
        return (self.output, self.brightness, self.contrast, self.sharpness)

    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.output}[{i}]" for i in range(3 * self.side * self.side))

    def run(self, ready: Columns, parts: Parts) -> None:
        from bottega.features.picture import take_thumbnail  # here, so that only who has pictures loads Pillow

        found = [take_thumbnail(content, self.side) for content in ready[self.input]]
        ready[self.output] = np.stack([one.pixels.reshape(-1) for one in found])  # (batch, 3 * side * side)
        for column, measured in (
            (self.brightness, [one.brightness for one in found]),
            (self.contrast, [one.contrast for one in found]),
            (self.sharpness, [one.sharpness for one in found]),
        ):
            ready[column] = np.array(measured)
