"""Settings of the rankers: light to import, since a use case declares some."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from bottega.training.package import Kind


@dataclass(frozen=True)
class TowerSettings:
    """Sizes and training of the two towers.

    `epochs` are more where there are so few sessions that they would not come to `steps`. `events` is how many of a
    session's last events are served, `longest` how many are learned from. `last_weight` is how much more the choice
    counts than the restaurants on the way to it.
    """

    kind: ClassVar[Kind] = "network"
    events: int = 10
    longest: int = 20
    width: int = 96
    hidden: int = 128
    dropout: float = 0.25
    epochs: int = 16
    steps: int = 600
    batch: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    last_weight: float = 2.0

    def quick(self) -> "TowerSettings":
        """The same with fewer epochs and steps."""
        return dataclasses.replace(self, epochs=max(1, self.epochs // 3), steps=max(1, self.steps // 3))


@dataclass(frozen=True)
class BackOffSettings:
    """What followed each pair of restaurant and action, backed off to the restaurant, and to what is popular.

    A context seen n times, with u different sequels, counts n / (n + `doubt` u).
    """

    kind: ClassVar[Kind] = "network"
    doubt: float = 1.0

    def quick(self) -> "BackOffSettings":
        """The same: it only counts."""
        return self
