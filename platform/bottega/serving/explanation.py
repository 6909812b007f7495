"""What an answer rests on: how old its looked-up features are and, where a client asks, the values that were used."""

from typing import Any

import msgspec
import numpy as np

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, External, Online
from bottega.times import from_epoch_us

Ages = dict[str, float | None]
"""Seconds by looked-up feature: how long before the request's moment the newest tile closed that has an event of the
entity; None where the longest window of the view has none."""


class LookedUp(msgspec.Struct, frozen=True):
    """A feature that was read for a row, None where there was no value; `key` are the entity's, as they were asked.

    `view` is the online store's or, with `service`, that of a service outside the platform, whose values have no age.
    """

    name: str
    view: str
    feature: str
    key: dict[str, Any]
    at: str
    value: float | None
    age_s: float | None
    service: bool


class Explanation(msgspec.Struct, frozen=True):
    """The model's inputs of a row by name, None where missing, and what was looked up for them."""

    inputs: dict[str, float | None]
    looked_up: list[LookedUp]


class Explainer:
    """Tells what the answers of one plan rest on.

    `columns` are those, of all that come before the model, which an answer has to keep for that.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._inputs, self._matrix = plan.features, plan.model().input
        self._steps = [step for step in plan.steps if isinstance(step, Online | External)]
        self._ages = [(tuple(step.outputs), step.age) for step in self._steps if isinstance(step, Online)]
        request = {field.name for field in plan.request}
        keys = {key for step in self._steps for key in (*step.keys, step.at)} - request
        self.columns = tuple(
            dict.fromkeys((*plan.looked_up, *(age for _, age in self._ages), *sorted(keys), self._matrix))
        )

    def ages(self, answers: Columns) -> list[Ages]:
        """The ages of each row's looked-up features."""
        rows: list[Ages] = [{} for _ in range(len(answers[self._matrix]))]
        for names, column in self._ages:
            for row, age_s in zip(rows, _known(answers[column]), strict=True):
                row.update(dict.fromkeys(names, age_s))
        return rows

    def explain(self, request: Columns, answers: Columns) -> list[Explanation]:
        """The values behind each row's answer."""
        everything = {**answers, **request}
        inputs = [_known(row) for row in answers[self._matrix]]
        by_step = [_looked_up(step, everything) for step in self._steps]
        found = []
        for row, values in enumerate(inputs):
            looked_up = [feature for rows in by_step for feature in rows[row]]
            found.append(Explanation(dict(zip(self._inputs, values, strict=True)), looked_up))
        return found


def _looked_up(step: Online | External, columns: Columns) -> list[list[LookedUp]]:
    """What a step read for each row."""
    rows = len(columns[step.at])
    keys = [columns[key].tolist() for key in step.keys]
    moments = [from_epoch_us(at).isoformat() for at in columns[step.at].tolist()]
    values = {name: _known(columns[name]) for name in step.outputs}
    is_service = isinstance(step, External)
    view = step.service.view if isinstance(step, External) else step.view
    ages = [None] * rows if isinstance(step, External) else _known(columns[step.age])
    return [
        [
            LookedUp(
                name,
                view,
                feature,
                dict(zip(step.keys, (key[row] for key in keys), strict=True)),
                moments[row],
                values[name][row],
                ages[row],
                is_service,
            )
            for name, feature in step.outputs.items()
        ]
        for row in range(rows)
    ]


def _known(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON; what is not finite is None. A float32 as the shortest decimal that reads back as the same."""
    if values.dtype == np.float32:
        values = values.astype("U16").astype(np.float64)
    return [value if np.isfinite(value) else None for value in values.tolist()]
