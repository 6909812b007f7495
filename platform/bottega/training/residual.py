"""The recipe of a quantity between two places: its models learn the logarithm of the label as a residual.

What they correct is the encoding of the pair. The answer and its interval are post-processing steps of the plan.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.on_request import OnRequest, function_steps
from bottega.features.plan import AnyStep, FeaturePlan, needed
from bottega.features.refs import View, reference_steps
from bottega.features.steps import Bucket, Calendar, Columns, Function, Lookup, Model, Stack, calendar_parts
from bottega.features.tables import Tables
from bottega.progress import Progress
from bottega.schema import Field
from bottega.training.encoding import LOG_MEAN, LOG_ROWS, LOG_SPREAD, PairEncoding
from bottega.training.interval import IntervalSettings
from bottega.training.lateness import Lateness
from bottega.training.package import ModelPackage
from bottega.training.recipe import ModelSpec, Target
from bottega.training.router import HOPS, KM, LOG_HOUR, MINUTES, Router
from bottega.training.settings import Effort

if TYPE_CHECKING:
    from bottega.training.evaluate import Evaluation
    from bottega.training.gate import Gate
    from bottega.training.outcome import Origin, Outcome

MATRIX = "features"
RESIDUAL = "residual"


@dataclass(frozen=True)
class ResidualRecipe:
    """Everything that training needs to know of such a use case; it is a `bottega.training.recipe.Recipe`.

    `references` are {column: "view:feature@key"}; `functions` are computed from request, calendar, view and routed
    columns. `encoding` and, where there is one, `router` learn tables; `encoded` and `routed` are {column: what it
    looks up in them}. After the model's `residual`, `bands` cut columns into the interval's bands and `answers` compute
    the answer fields. `lateness` says what an answer that was too low costs. `labels` maps the sources to a table of
    request columns, `requested_at`, the label and `label_at` (when it became known); `slices` names each label row's
    group, for evaluation.
    """

    request: tuple[Field, ...]
    answer: tuple[Field, ...]
    target: Target
    calendar: Calendar
    views: tuple[View, ...]
    references: Mapping[str, str]
    functions: tuple[OnRequest, ...]
    encoding: PairEncoding
    encoded: Mapping[str, str]
    bands: tuple[Bucket, ...]
    interval: IntervalSettings
    answers: tuple[OnRequest, ...]
    models: tuple[ModelSpec, ...]
    labels: Callable[[Sources], pd.DataFrame]
    slices: Callable[[pd.DataFrame, Sources], Mapping[str, np.ndarray]]
    router: Router | None = None
    routed: Mapping[str, str] = field(default_factory=dict)
    lateness: Lateness | None = None

    def before(self) -> tuple[AnyStep, ...]:
        """Every step that can make a model input."""
        reads = reference_steps(self.references, self.views, at=self.calendar.input)
        encoding = Lookup(self.encoding.table, self.encoding.keys, dict(self.encoded))
        first = (self.calendar, *reads, *self._routes(), encoding)
        ready = {field.name for field in self.request}.union(*(step.makes() for step in first))
        return (*first[:-1], *function_steps(self.functions, ready), encoding)

    def _routes(self) -> tuple[Lookup, ...]:
        if self.router is None:
            return ()
        of_hour = {column: source for column, source in self.routed.items() if source == LOG_HOUR}
        of_pair = {column: source for column, source in self.routed.items() if source != LOG_HOUR}
        by_pair = Lookup(self.router.table, self.router.keys, of_pair)
        by_hour = Lookup(self.router.hours, (self.router.hour,), of_hour)
        return tuple(step for step in (by_pair, by_hour) if step.outputs)

    def learned(self) -> tuple[str, ...]:
        """The columns that come from learned tables."""
        return (*self.routed, *self.encoded)

    def routed_minutes(self, tables: Tables, request: Columns) -> np.ndarray:
        """The router's own answer, (rows,) minutes, NaN where it has none or a package has no router."""
        if self.router is None or self.router.table not in tables:
            return np.full(len(request[self.calendar.input]), np.nan)
        moments = calendar_parts(request[self.calendar.input], self.calendar.timezone, self.calendar.outputs)
        minutes = tables[self.router.table].read([request[key] for key in self.router.keys], [MINUTES])[0]
        return minutes * np.exp(tables[self.router.hours].read([moments[self.router.hour]], [LOG_HOUR])[0])

    def after(self) -> tuple[AnyStep, ...]:
        """The steps from the model's residual to the answer."""
        limits = Lookup(
            self.interval.table,
            tuple(band.output for band in self.bands),
            {self.interval.low: "low", self.interval.high: "high"},
        )
        answers = [Function(f.name, f.inputs, f.outputs) for f in self.answers]
        return (*self.bands, limits, *answers)

    def plan(self, spec: ModelSpec) -> FeaturePlan:
        """The plan of one model, without the steps that neither it nor its answer needs."""
        tail: tuple[AnyStep, ...] = (Stack(spec.inputs, MATRIX), Model(MATRIX, (RESIDUAL,)), *self.after())
        return FeaturePlan(self.request, needed((*self.before(), *tail), self.answer_names()), self.answer)

    def answer_names(self) -> tuple[str, ...]:
        """Names of the answer fields."""
        return tuple(field.name for field in self.answer)

    def base(self) -> str:
        """The column that the model's residual is added to."""
        return next(column for column, source in self.encoded.items() if source == LOG_MEAN)

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
        from bottega.training.trainer import train  # here, so that a use case is declared without its learners

        return train(
            usecase, self, sources, since_us, until_us, origin,
            champion=champion, gate=gate, effort=effort, progress=progress,
        )  # fmt: skip

    def evaluate(
        self, package: ModelPackage, sources: Sources, since_us: int, until_us: int, progress: Progress
    ) -> "Evaluation":
        """As `bottega.training.recipe.Recipe.evaluate`: features are joined point-in-time."""
        from bottega.training.evaluate import evaluate_package
        from bottega.training.examples import make_examples

        return evaluate_package(package, self, make_examples(self, sources, since_us, until_us, progress))

    def __post_init__(self) -> None:
        if self.routed and self.router is None:
            raise InvalidInput(
                f"{', '.join(self.routed)} come from a router, and there is none.",
                next_step="Declare a router, or no routed columns.",
            )
        if unrouted := set(self.routed.values()) - {MINUTES, KM, HOPS, LOG_HOUR}:
            raise InvalidInput(
                f"The router gives no {', '.join(sorted(unrouted))}.",
                next_step=f"It has {MINUTES}, {KM}, {HOPS} and {LOG_HOUR}.",
            )
        unknown = set(self.encoded.values()) - {LOG_MEAN, LOG_ROWS, LOG_SPREAD}
        if unknown or LOG_MEAN not in self.encoded.values():
            raise InvalidInput(
                f"The encoding gives {', '.join(self.encoded.values())}.",
                next_step=f"It has {LOG_MEAN} (which must be used), {LOG_ROWS} and {LOG_SPREAD}.",
            )
