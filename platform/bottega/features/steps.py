"""The steps of a feature plan: each reads columns of a batch and adds columns to it.

A step is data, and knows how to run on numpy. The vocabulary is small and versioned: `bottega.features.plan` names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.entity import KeyDtype
from bottega.features.tables import Tables
from bottega.times import local_us

Columns = dict[str, np.ndarray]
"""Named columns of one batch: (batch,) each, or (batch, width)."""

NumericFunction = Callable[..., tuple[np.ndarray, ...]]
"""Columns in, columns out, all (batch,) float64."""

OnlineRead = Callable[[str, tuple[np.ndarray, ...], np.ndarray], Mapping[str, np.ndarray]]
"""(view, key columns, at as epoch_us) to the view's features, (batch,) float64 each, NaN where there is none."""

ExternalRead = Callable[["Service", tuple[np.ndarray, ...], np.ndarray], Mapping[str, np.ndarray]]
"""(service, key columns, at as epoch_us) to the service's features, (batch,) float64 each, defaults filled in."""

Predict = Callable[[np.ndarray], np.ndarray]
"""(batch, features) float32 to (batch, outputs) float32."""


class Step(msgspec.Struct, frozen=True, tag_field="op"):
    """One step: the columns that it `reads`, those that it `makes`, and `run`, which adds these to a batch."""

    def reads(self) -> tuple[str, ...]:
        """Names of the columns that the step needs."""
        raise NotImplementedError

    def makes(self) -> tuple[str, ...]:
        """Names of the columns that the step adds."""
        raise NotImplementedError

    def features(self) -> tuple[str, ...]:
        """Names of the columns of the matrix (batch, features) that the step makes; none where it makes no matrix."""
        return ()

    def run(self, ready: Columns, parts: "Parts") -> None:
        """Add the step's columns to a batch."""
        raise NotImplementedError


class Calendar(Step, frozen=True, tag="calendar"):
    """Calendar fields of a time column in the city's local time.

    `outputs` maps a new column to a part: `hour` (0 to 23), `weekday` (Monday 0), `minute_of_day`, `hour_of_week`.
    """

    input: str
    timezone: str
    outputs: dict[str, str]

    def reads(self) -> tuple[str, ...]:
        return (self.input,)

    def makes(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def run(self, ready: Columns, parts: "Parts") -> None:
        ready.update(calendar_parts(ready[self.input], self.timezone, self.outputs))


class Lookup(Step, frozen=True, tag="lookup"):
    """Columns of a static table by its integer keys; `outputs` maps a new column to the table's column."""

    table: str
    keys: tuple[str, ...]
    outputs: dict[str, str]

    def reads(self) -> tuple[str, ...]:
        return self.keys

    def makes(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def run(self, ready: Columns, parts: "Parts") -> None:
        values = parts.tables[self.table].read([ready[key] for key in self.keys], list(self.outputs.values()))
        ready.update(zip(self.outputs, values, strict=True))


class Online(Step, frozen=True, tag="online"):
    """Features of a view by entity key at a moment; `outputs` maps a new column to the view's feature.

    A run also leaves the column `age`: how many seconds old the features are, NaN where the store tells none.
    """

    view: str
    keys: tuple[str, ...]
    at: str
    outputs: dict[str, str]

    @property
    def age(self) -> str:
        """Name of the column of ages; no feature has such a one."""
        return f"age_s of {self.view} by {', '.join(self.keys)} at {self.at}"

    def reads(self) -> tuple[str, ...]:
        return (*self.keys, self.at)

    def makes(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def run(self, ready: Columns, parts: "Parts") -> None:
        at_us = ready[self.at]
        found = parts.read_online(self.view, tuple(ready[key] for key in self.keys), at_us)
        ready.update((column, found[feature]) for column, feature in self.outputs.items())
        age_s = getattr(found, "age_s", None)
        ready[self.age] = np.full(len(at_us), np.nan) if age_s is None else age_s


class Service(msgspec.Struct, frozen=True):
    """A service outside the platform that knows features of an entity at a moment, as bottega.features.service asks it.

    `endpoint` is its address, or the name of the setting that holds the address. `keys` are the entity's, of type
    `key_dtype`. `defaults` stand in for each of `features` where there is no value, None for null. A request waits
    `timeout_s` at most, in all; what the service says of a whole multiple of `max_age_s` holds until the next one.
    """

    view: str
    endpoint: str
    keys: tuple[str, ...]
    key_dtype: KeyDtype
    features: tuple[str, ...]
    defaults: tuple[float | None, ...]
    timeout_s: float
    max_age_s: int


class External(Step, frozen=True, tag="external"):
    """Features that a service knows by entity key at a moment; `outputs` maps a new column to the service's feature."""

    service: Service
    keys: tuple[str, ...]
    at: str
    outputs: dict[str, str]

    def reads(self) -> tuple[str, ...]:
        return (*self.keys, self.at)

    def makes(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def run(self, ready: Columns, parts: "Parts") -> None:
        found = parts.read_external(self.service, tuple(ready[key] for key in self.keys), ready[self.at])
        ready.update((column, found[feature]) for column, feature in self.outputs.items())


class Function(Step, frozen=True, tag="function"):
    """A numeric function, traced and compiled into the artefact; float64 columns in and out."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        return self.inputs

    def makes(self) -> tuple[str, ...]:
        return self.outputs

    def run(self, ready: Columns, parts: "Parts") -> None:
        results = parts.functions[self.name](*(np.asarray(ready[name], np.float64) for name in self.inputs))
        ready.update(zip(self.outputs, results, strict=True))


class Bucket(Step, frozen=True, tag="bucket"):
    """Index of the interval of `edges` that holds the value: 0 to len(edges), a value on an edge goes right."""

    input: str
    edges: tuple[float, ...]
    output: str

    def reads(self) -> tuple[str, ...]:
        return (self.input,)

    def makes(self) -> tuple[str, ...]:
        return (self.output,)

    def run(self, ready: Columns, parts: "Parts") -> None:
        ready[self.output] = np.searchsorted(np.array(self.edges), ready[self.input], side="right")


class Stack(Step, frozen=True, tag="stack"):
    """Columns side by side as one (batch, features) float32 matrix: the model's input.

    `widths` says how many numbers each column has a row; without it, one each.
    """

    inputs: tuple[str, ...]
    output: str
    widths: tuple[int, ...] = ()

    def reads(self) -> tuple[str, ...]:
        return self.inputs

    def makes(self) -> tuple[str, ...]:
        return (self.output,)

    def features(self) -> tuple[str, ...]:
        widths = self.widths or (1,) * len(self.inputs)
        return tuple(
            name if width == 1 else f"{name}[{i}]"
            for name, width in zip(self.inputs, widths, strict=True)
            for i in range(width)
        )

    def run(self, ready: Columns, parts: "Parts") -> None:
        columns = [ready[name] for name in self.inputs]
        ready[self.output] = np.column_stack(columns).astype(np.float32)  # (batch, features)


class Model(Step, frozen=True, tag="model"):
    """The model: a (batch, features) float32 matrix in, a float32 column for each output.

    `widths` says how many numbers each output has a row: (batch, width) where it is more than one.
    """

    input: str
    outputs: tuple[str, ...]
    widths: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Columns of the matrix that the model gives."""
        return sum(self.widths) or len(self.outputs)

    def reads(self) -> tuple[str, ...]:
        return (self.input,)

    def makes(self) -> tuple[str, ...]:
        return self.outputs

    def run(self, ready: Columns, parts: "Parts") -> None:
        self.share(parts.predict(ready[self.input]), ready)

    def share(self, predicted: np.ndarray, ready: Columns) -> None:
        """Add what the model gave, (batch, width) float32, to a batch, as the outputs' columns."""
        if not self.widths:
            ready.update((name, predicted[:, i]) for i, name in enumerate(self.outputs))
            return
        start = 0
        for name, width in zip(self.outputs, self.widths, strict=True):
            ready[name] = predicted[:, start] if width == 1 else predicted[:, start : start + width]
            start += width


def no_services(service: Service, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    """The external read where none was given."""
    raise InvalidInput(
        f"The plan asks the service of the view {service.view!r}, and there is no way to reach services.",
        next_step="Pass read_external, or the features as `given`.",
    )


@dataclass(frozen=True)
class Parts:
    """What a plan needs to run: its tables, its numeric functions, ways to read features, and the model."""

    tables: Tables
    functions: Mapping[str, NumericFunction]
    read_online: OnlineRead
    predict: Predict
    read_external: ExternalRead = no_services


def calendar_parts(epoch_us: np.ndarray, timezone: str, outputs: Mapping[str, str]) -> Columns:
    """Calendar parts of a (batch,) epoch_us column, each (batch,) float64."""
    minutes = local_us(epoch_us, timezone) // 60_000_000
    hours, days = minutes // 60, minutes // 1440
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
    parts = {
        "hour": hours % 24,
        "weekday": weekday,
        "minute_of_day": minutes % 1440,
        "hour_of_week": weekday * 24 + hours % 24,
    }
    for column, part in outputs.items():
        if part not in parts:
            raise InvalidInput(
                f"{column}: there is no calendar part {part!r}.", next_step=f"Parts are {', '.join(parts)}."
            )
    return {column: parts[part].astype(np.float64) for column, part in outputs.items()}
