"""Settings of the models: light to import, since every use case declares some."""

import dataclasses
import os
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from bottega.training.package import Kind


class Settings(Protocol):
    """What every kind of model's settings have."""

    @property
    def kind(self) -> Kind:
        """The form that the learned model takes: `trees` or `network`."""
        ...

    def quick(self) -> Self:
        """The same with less work."""
        ...


@dataclass(frozen=True)
class Effort:
    """How a training run goes about its work: the seed, the threads, and whether it takes fewer rounds and epochs.

    By default it takes half of the cores: threads that wait for a core which another process holds lose more time than
    they save.
    """

    seed: int = 7
    threads: int = max(1, (os.cpu_count() or 1) // 2)
    quick: bool = False


@dataclass(frozen=True)
class BoostingSettings:
    """The booster's settings; `patience` is in rounds, `huber_slope` in log units.

    The loss is the pseudo-Huber loss: near its middle a square, outside an absolute error.
    """

    kind: ClassVar[Kind] = "trees"
    rounds: int = 600
    patience: int = 50
    depth: int = 8
    learning_rate: float = 0.04
    l2: float = 50.0
    min_child_weight: float = 300.0
    huber_slope: float = 0.2
    row_share: float = 0.7
    column_share: float = 0.6

    def quick(self) -> "BoostingSettings":
        """The same, learned in fewer and larger steps."""
        return dataclasses.replace(self, rounds=max(1, self.rounds // 3), learning_rate=self.learning_rate * 2)


@dataclass(frozen=True)
class CountSettings:
    """A booster of counts, by Poisson's likelihood; `patience` is in rounds, `min_child_weight` in expected counts."""

    kind: ClassVar[Kind] = "trees"
    rounds: int = 600
    patience: int = 40
    depth: int = 5
    learning_rate: float = 0.05
    l2: float = 10.0
    min_child_weight: float = 50.0
    row_share: float = 0.7
    column_share: float = 0.5

    def quick(self) -> "CountSettings":
        """The same, learned in fewer and larger steps."""
        return dataclasses.replace(self, rounds=max(1, self.rounds // 3), learning_rate=self.learning_rate * 2)


@dataclass(frozen=True)
class CountNetworkSettings:
    """A small network of counts, by Poisson's likelihood; `ids` names the input column that holds an id."""

    kind: ClassVar[Kind] = "network"
    ids: tuple[str, ...]
    width: int = 8
    hidden: int = 64
    dropout: float = 0.1
    epochs: int = 6
    batch: int = 1024
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3

    def quick(self) -> "CountNetworkSettings":
        """The same with fewer epochs."""
        return dataclasses.replace(self, epochs=max(1, self.epochs // 2))


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes and training of the network.

    `ids` name the input columns that hold ids, `segment` the column of small whole numbers below `segments` that the
    calibration layer corrects by; the other inputs are continuous.
    `asymmetry` above 1 makes an answer that is too low cost more; `huber_width` is in log units.
    """

    kind: ClassVar[Kind] = "network"
    ids: tuple[str, ...]
    segment: str
    segments: int
    width: int = 16
    buckets: int = 32
    hash_size: int = 512
    hidden: int = 128
    dropout: float = 0.2
    epochs: int = 6
    batch: int = 1024
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    huber_width: float = 0.2
    asymmetry: float = 1.1

    def quick(self) -> "NetworkSettings":
        """The same with fewer epochs."""
        return dataclasses.replace(self, epochs=max(1, self.epochs // 2))
