"""Settings of the picture network, apart from it: light to import, since a use case declares them."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from bottega.training.package import Kind


@dataclass(frozen=True)
class PictureSettings:
    """Sizes and training of the network.

    `members` networks learn, each from all folds of the pictures but one, and answer together. `channels` are the
    stem's and each stage's; `side` is a picture's, in pixels. `smoothing` is taken from each label, since some
    are wrong.
    """

    kind: ClassVar[Kind] = "network"
    members: int = 3
    channels: tuple[int, ...] = (16, 32, 64, 128)
    side: int = 64
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    dropout: float = 0.3
    smoothing: float = 0.05

    def quick(self) -> "PictureSettings":
        """The same with fewer networks and epochs."""
        return dataclasses.replace(self, members=2, epochs=max(2, self.epochs // 3))
