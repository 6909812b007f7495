"""The recipe of counts by place and hour: models expect the coming hour's counts, and a price or the like follows.

The expected counts are Poisson's; what they scatter is negative binomial. Quantiles are steps of the expected count, so
the plan tells them exactly; the estimate is the median, which errs least.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bottega.datasets.reading import Sources
from bottega.features.on_request import OnRequest, function_steps
from bottega.features.plan import AnyStep, FeaturePlan, needed
from bottega.features.refs import View, reference_steps
from bottega.features.steps import Bucket, Calendar, Function, Lookup, Model, Stack
from bottega.features.text import Text
from bottega.progress import Progress
from bottega.schema import Field
from bottega.training.package import ModelPackage
from bottega.training.profile import profile_columns
from bottega.training.recipe import ModelSpec, Target
from bottega.training.settings import Effort

if TYPE_CHECKING:
    from bottega.training.evaluate import Evaluation
    from bottega.training.gate import Gate
    from bottega.training.outcome import Origin, Outcome

MATRIX = "features"
PROFILE = "profile"
"""The plan's table of what is usual, by place and hour of the week."""


@dataclass(frozen=True)
class DemandRecipe:
    """Everything that training needs to know of such a use case; it is a `bottega.training.recipe.Recipe`.

    `place` names the request's field with the place, `calendar` makes `hour_of_week`. `expected` maps the model's
    outputs to the label columns that they expect, the target's first. `quantiles` maps columns to levels of the
    target's distribution. `answers` and `texts` compute the other answer fields. Judged are the `judged` places with
    the highest counts of the training span.
    """

    request: tuple[Field, ...]
    answer: tuple[Field, ...]
    target: Target
    place: str
    calendar: Calendar
    hour_of_week: str
    views: tuple[View, ...]
    references: Mapping[str, str]
    functions: tuple[OnRequest, ...]
    expected: Mapping[str, str]
    quantiles: Mapping[str, float]
    answers: tuple[OnRequest, ...]
    texts: tuple[Text, ...]
    models: tuple[ModelSpec, ...]
    labels: Callable[[Sources], pd.DataFrame]
    judged: int = 30
    usual_size: float = 10.0
    """The negative binomial's size where none is learned yet."""

    @property
    def profiled(self) -> tuple[str, ...]:
        """The profile's columns."""
        return tuple(column for count in self.expected.values() for column in profile_columns(count))

    def before(self) -> tuple[AnyStep, ...]:
        """Every step that can make a model input."""
        reads = reference_steps(self.references, self.views, at=self.calendar.input)
        usual = Lookup(PROFILE, (self.place, self.hour_of_week), {name: name for name in self.profiled})
        ready = {field.name for field in self.request}
        for step in (self.calendar, usual, *reads):
            ready.update(step.makes())
        return (self.calendar, usual, *reads, *function_steps(self.functions, ready))

    def after(self, size: float) -> tuple[AnyStep, ...]:
        """The steps from the expected counts to the answer, for a negative binomial of this size."""
        from bottega.training.dispersion import steps  # here, so that a use case is declared without scipy

        mean = next(iter(self.expected))
        levels = [Bucket(mean, steps(level, size), column) for column, level in self.quantiles.items()]
        return (*levels, *(Function(f.name, f.inputs, f.outputs) for f in self.answers), *self.texts)

    def plan(self, spec: ModelSpec) -> FeaturePlan:
        """The plan of one model, for counts that scatter as usual."""
        return self.plan_for(spec, self.usual_size)

    def plan_for(self, spec: ModelSpec, size: float) -> FeaturePlan:
        """The plan of one model, without the steps that neither it nor its answer needs."""
        model = Model(MATRIX, tuple(self.expected))
        tail: tuple[AnyStep, ...] = (Stack(spec.inputs, MATRIX), model, *self.after(size))
        wanted = tuple(field.name for field in self.answer)
        return FeaturePlan(self.request, needed((*self.before(), *tail), wanted), self.answer)

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
        """As `bottega.training.recipe.Recipe.train`."""
        from bottega.training.demand_training import train

        return train(
            usecase, self, sources, since_us, until_us, origin,
            champion=champion, gate=gate, effort=effort, progress=progress,
        )  # fmt: skip

    def evaluate(
        self, package: ModelPackage, sources: Sources, since_us: int, until_us: int, progress: Progress
    ) -> "Evaluation":
        """As `bottega.training.recipe.Recipe.evaluate`: a forecast is made from what was known when its hour began."""
        from bottega.training.demand_training import evaluate

        return evaluate(package, self, sources, since_us, until_us, progress)
