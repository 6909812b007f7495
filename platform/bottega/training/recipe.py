"""The recipe of a model: what a use case declares about its features, models and answers, as data and plain functions.

The model learns the logarithm of the label as a residual over the pair encoding; the answer and its interval are
post-processing steps of the plan.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.features.on_request import OnRequest, function_steps
from bottega.features.plan import Bucket, Calendar, FeaturePlan, Function, Lookup, Model, Stack, Step, step_outputs
from bottega.features.refs import View, reference_steps
from bottega.schema import Field
from bottega.training.encoding import LOG_MEAN, LOG_ROWS, LOG_SPREAD, PairEncoding
from bottega.training.interval import IntervalSettings
from bottega.training.package import Kind
from bottega.training.settings import BoostingSettings, NetworkSettings

Sources = Mapping[str, pd.DataFrame]
"""The tables that a use case's views and labels are made of, by the views' source names."""

MATRIX = "features"
RESIDUAL = "residual"


@dataclass(frozen=True)
class Target:
    """The label's column and unit, and the answer fields that estimate it and bound it."""

    label: str
    unit: str
    answer: str
    low: str
    high: str


@dataclass(frozen=True)
class ModelSpec:
    """One model to try: its name, its input columns in order, and its settings (which decide the kind)."""

    name: str
    inputs: tuple[str, ...]
    settings: BoostingSettings | NetworkSettings

    @property
    def kind(self) -> Kind:
        """`trees` or `network`."""
        return "trees" if isinstance(self.settings, BoostingSettings) else "network"


@dataclass(frozen=True)
class Recipe:
    """Everything that training needs to know.

    `references` are {column: "view:feature@key"}; `functions` are computed from request, calendar and view columns;
    `encoding` adds its table's columns `base`, `base_rows`, `base_spread` (names of your choice). After the model's
    `residual`, `bands` cut columns into the interval's bands and `answers` compute the answer fields. `labels` maps the
    sources to a table of request columns, `requested_at`, the label and `label_at` (when it became known); `slices`
    names each label row's group, for evaluation.
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

    def before(self) -> tuple[Step, ...]:
        """Every step that can make a model input."""
        reads = reference_steps(self.references, self.views, at=self.calendar.input)
        encoding = Lookup(self.encoding.table, self.encoding.keys, dict(self.encoded))
        ready = {field.name for field in self.request}
        for step in (self.calendar, *reads, encoding):
            ready.update(step_outputs(step))
        return (self.calendar, *reads, *function_steps(self.functions, ready), encoding)

    def after(self) -> tuple[Step, ...]:
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
        tail: tuple[Step, ...] = (Stack(spec.inputs, MATRIX), Model(MATRIX, (RESIDUAL,)), *self.after())
        return FeaturePlan(self.request, needed((*self.before(), *tail), self.answer_names()), self.answer)

    def answer_names(self) -> tuple[str, ...]:
        """Names of the answer fields."""
        return tuple(field.name for field in self.answer)

    def base(self) -> str:
        """The column that the model's residual is added to."""
        return next(column for column, source in self.encoded.items() if source == LOG_MEAN)

    def encoded_as(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Encoding columns by the names that the plan gives them."""
        return {column: values[source] for column, source in self.encoded.items()}

    def __post_init__(self) -> None:
        unknown = set(self.encoded.values()) - {LOG_MEAN, LOG_ROWS, LOG_SPREAD}
        if unknown or LOG_MEAN not in self.encoded.values():
            raise InvalidInput(
                f"The encoding gives {', '.join(self.encoded.values())}.",
                next_step=f"It has {LOG_MEAN} (which must be used), {LOG_ROWS} and {LOG_SPREAD}.",
            )


def needed(steps: Iterable[Step], wanted: Iterable[str]) -> tuple[Step, ...]:
    """The steps, in order, without those that contribute nothing to the wanted columns."""
    missing = set(wanted)
    kept: list[Step] = []
    for step in reversed(tuple(steps)):
        if missing & set(step_outputs(step)):
            missing = (missing - set(step_outputs(step))) | set(step_inputs(step))
            kept.append(step)
    return tuple(reversed(kept))


def step_inputs(step: Step) -> tuple[str, ...]:
    """The columns that a step reads."""
    match step:
        case Calendar() | Bucket() | Model():
            return (step.input,)
        case Lookup():
            return step.keys
        case Function() | Stack():
            return step.inputs
        case _:
            return (*step.keys, step.at)
