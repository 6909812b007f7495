"""A recipe: what a use case declares about how its models are made and judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from bottega.datasets.reading import Sources
from bottega.features.on_request import OnRequest
from bottega.features.plan import FeaturePlan
from bottega.features.refs import View
from bottega.progress import Progress
from bottega.schema import Field
from bottega.training.package import Kind, ModelPackage
from bottega.training.settings import Effort, Settings

if TYPE_CHECKING:
    from bottega.training.evaluate import Evaluation
    from bottega.training.gate import Gate
    from bottega.training.outcome import Origin, Outcome


@dataclass(frozen=True)
class Target:
    """The label's column and unit, and the answer fields that estimate it and, where there is an interval, bound it."""

    label: str
    unit: str
    answer: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """One model to try: its name, its input columns in order, and its settings (which decide the kind)."""

    name: str
    inputs: tuple[str, ...]
    settings: Settings

    @property
    def kind(self) -> Kind:
        """`trees` or `network`."""
        return self.settings.kind


class Recipe(Protocol):
    """Everything that the platform needs to know to make a use case's model.

    `references` are {column: "view:feature@key"}, `functions` numeric code over the columns of a request. `labels` maps
    the sources to a table of request columns, `requested_at`, the label and `label_at` (when it became known); its
    index is the request's id.
    """

    @property
    def request(self) -> tuple[Field, ...]: ...
    @property
    def answer(self) -> tuple[Field, ...]: ...
    @property
    def target(self) -> Target: ...
    @property
    def views(self) -> tuple[View, ...]: ...
    @property
    def references(self) -> Mapping[str, str]: ...
    @property
    def functions(self) -> tuple[OnRequest, ...]: ...
    @property
    def answers(self) -> tuple[OnRequest, ...]: ...
    @property
    def models(self) -> tuple[ModelSpec, ...]: ...
    @property
    def labels(self) -> Callable[[Sources], pd.DataFrame]: ...

    def plan(self, spec: ModelSpec) -> FeaturePlan:
        """The plan of one model."""
        ...

    def train(
        self,
        usecase: str,
        sources: Sources,
        since_us: int,
        until_us: int,
        origin: "Origin",
        *,
        champion: ModelPackage | None,
        gate: "Gate",
        effort: Effort,
        progress: Progress,
    ) -> "Outcome":
        """Train every model on the rows of [since, until) whose label was known by `until`, and choose one.

        Raises InvalidInput where the span is too short or has too few rows.
        """
        ...

    def evaluate(
        self, package: ModelPackage, sources: Sources, since_us: int, until_us: int, progress: Progress
    ) -> "Evaluation":
        """Score a package on the rows of [since, until); nothing that was known only later helps it."""
        ...
