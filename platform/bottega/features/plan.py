"""The feature plan: the steps from a request to the model's input, and from its output to the answer.

A plan is data (JSON), so an artefact that holds one needs no Python of the use case: training runs it on numpy, the
server runs the same steps with the compiled functions. The vocabulary is small and versioned.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.decide_step import Decide
from bottega.features.diversify import Diversify
from bottega.features.picture_step import Picture
from bottega.features.steps import (
    Bucket,
    Calendar,
    Columns,
    External,
    Function,
    Lookup,
    Model,
    Online,
    Parts,
    Stack,
    Step,
)
from bottega.features.suggested import Suggested
from bottega.features.tables import Tables
from bottega.features.text import Text
from bottega.features.top_k import Expected, TopK
from bottega.schema import Field

PLAN_VERSION = 4
"""2 added external features, 3 columns of several numbers a row, 4 steps that rank, suggest, say why, decode pictures
and decide; a plan of an earlier version means what it did."""

AnyStep = (
    Calendar
    | Lookup
    | Online
    | External
    | Function
    | Bucket
    | Stack
    | Model
    | TopK
    | Expected
    | Diversify
    | Suggested
    | Text
    | Picture
    | Decide
)
"""The vocabulary."""


class FeaturePlan(msgspec.Struct, frozen=True):
    """What a use case's request becomes: request fields, steps in order, answer fields."""

    request: tuple[Field, ...]
    steps: tuple[AnyStep, ...]
    answer: tuple[Field, ...]
    version: int = PLAN_VERSION

    def __post_init__(self) -> None:
        if not 1 <= self.version <= PLAN_VERSION:
            raise ValueError(f"the plan has version {self.version}, this Bottega knows up to {PLAN_VERSION}")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        matrix = self.model().input
        return next(step.features() for step in self.steps if matrix in step.makes())

    @property
    def looked_up(self) -> tuple[str, ...]:
        """Columns that come from outside the request and the artefact: what a store or service said at that moment."""
        return tuple(column for step in self.steps if isinstance(step, Online | External) for column in step.outputs)

    def before_model(self) -> tuple[AnyStep, ...]:
        """The steps that compute the model's input."""
        return self.steps[: self._model_at()]

    def after_model(self) -> tuple[AnyStep, ...]:
        """The steps that turn the model's output into the answer."""
        return self.steps[self._model_at() + 1 :]

    def model(self) -> Model:
        """The one model step."""
        step = self.steps[self._model_at()]
        assert isinstance(step, Model)
        return step

    def _model_at(self) -> int:
        return next(i for i, step in enumerate(self.steps) if isinstance(step, Model))


def check_request(plan: FeaturePlan, columns: Columns, tables: Tables) -> None:
    """Raise InvalidInput for a missing or superfluous column, a value out of range, or an unknown id."""
    names = [field.name for field in plan.request]
    for name in names:
        if name not in columns:
            raise InvalidInput(f"The field {name!r} is missing.", next_step=f"The fields are {', '.join(names)}.")
    for name in columns:
        if name not in names:
            raise InvalidInput(
                f"{name!r} is no field of this request.", next_step=f"The fields are {', '.join(names)}."
            )
    for field in plan.request:
        column = columns[field.name]
        field.check(column)
        if field.known_in:
            ids = column.reshape(-1)
            _, known = tables[field.known_in].entries([ids])
            if field.fill is not None:
                known |= ids == field.fill
            if not known.all():
                value = ids[int(np.argmin(known))]
                raise InvalidInput(
                    f"{field.name} {value!s} is unknown.",
                    next_step=f"{field.description or 'Give a known id'}.".replace("..", "."),
                )


def run_steps(
    steps: Sequence[Step], columns: Columns, parts: Parts, given: Mapping[str, np.ndarray] | None = None
) -> Columns:
    """Run steps in order on a batch; returns all columns, the inputs included.

    A step whose outputs are all in `given` is skipped: training passes point-in-time features and out-of-fold
    encodings that way, and everything else is computed exactly as the server computes it.
    """
    ready = dict(columns)
    ready.update(given or {})
    for step in steps:
        if given and set(step.makes()) <= given.keys():
            continue
        step.run(ready, parts)
    return ready


def needed(steps: Iterable[AnyStep], wanted: Iterable[str]) -> tuple[AnyStep, ...]:
    """The steps, in order, without those that contribute nothing to the wanted columns."""
    missing = set(wanted)
    kept: list[AnyStep] = []
    for step in reversed(tuple(steps)):
        if missing & set(step.makes()):
            missing = (missing - set(step.makes())) | set(step.reads())
            kept.append(step)
    return tuple(reversed(kept))
