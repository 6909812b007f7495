"""A use case: everything the platform needs to know to train, serve and watch one model, declared in one place."""

from dataclasses import dataclass, field
from datetime import timedelta

from bottega.datasets.reading import Reader
from bottega.features.refs import View
from bottega.monitoring.monitor import Monitor
from bottega.schema import Field
from bottega.training.gate import Gate
from bottega.training.recipe import Recipe, Target


@dataclass(frozen=True)
class UseCase:
    """The declaration of a use case.

    `dataset` names the dataset in the catalogue, `read` reads it, `recipe` says how its models are made, `gate` what a
    candidate must beat, `monitor` what is watched once it is live.
    """

    name: str
    title: str
    dataset: str
    read: Reader
    recipe: Recipe
    monitor: Monitor
    gate: Gate = field(default_factory=Gate)
    trial: timedelta = timedelta(days=5)
    """So much of the invented data is enough for a first model: for contract tests and a first look."""

    @property
    def views(self) -> tuple[View, ...]:
        """The feature views that the model reads."""
        return self.recipe.views

    @property
    def request(self) -> tuple[Field, ...]:
        """The request's fields."""
        return self.recipe.request

    @property
    def answer(self) -> tuple[Field, ...]:
        """The answer's fields."""
        return self.recipe.answer

    @property
    def target(self) -> Target:
        """The label, its unit, and the answer fields that estimate and bound it."""
        return self.recipe.target
