"""The feature plan: the steps from a request to the model's input, and from its output to the answer.

A plan is data (JSON), so an artefact that holds one needs no Python of the use case: training runs it on numpy, the
server runs the same steps with the compiled functions. The vocabulary is small and versioned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.entity import KeyDtype
from bottega.schema import Field
from bottega.times import local_us

PLAN_VERSION = 2
"""2 added external features; a plan of version 1 means what it did."""

Columns = dict[str, np.ndarray]
"""Named columns of one batch: (batch,) each, or (batch, width) after a Stack."""

NumericFunction = Callable[..., tuple[np.ndarray, ...]]
"""Columns in, columns out, all (batch,) float64."""

OnlineRead = Callable[[str, tuple[np.ndarray, ...], np.ndarray], Mapping[str, np.ndarray]]
"""(view, key columns, at as epoch_us) to the view's features, (batch,) float64 each, NaN where there is none."""

ExternalRead = Callable[["Service", tuple[np.ndarray, ...], np.ndarray], Mapping[str, np.ndarray]]
"""(service, key columns, at as epoch_us) to the service's features, (batch,) float64 each, defaults filled in."""

Predict = Callable[[np.ndarray], np.ndarray]
"""(batch, features) float32 to (batch, outputs) float32."""


class Calendar(msgspec.Struct, frozen=True, tag="calendar", tag_field="op"):
    """Calendar fields of a time column in the city's local time.

    `outputs` maps a new column to a part: `hour` (0 to 23), `weekday` (Monday 0), `minute_of_day`, `hour_of_week`.
    """

    input: str
    timezone: str
    outputs: dict[str, str]


class Lookup(msgspec.Struct, frozen=True, tag="lookup", tag_field="op"):
    """Columns of a static table by its integer keys; `outputs` maps a new column to the table's column."""

    table: str
    keys: tuple[str, ...]
    outputs: dict[str, str]


class Online(msgspec.Struct, frozen=True, tag="online", tag_field="op"):
    """Features of a view by entity key at a moment; `outputs` maps a new column to the view's feature."""

    view: str
    keys: tuple[str, ...]
    at: str
    outputs: dict[str, str]


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


class External(msgspec.Struct, frozen=True, tag="external", tag_field="op"):
    """Features that a service knows by entity key at a moment; `outputs` maps a new column to the service's feature."""

    service: Service
    keys: tuple[str, ...]
    at: str
    outputs: dict[str, str]


class Function(msgspec.Struct, frozen=True, tag="function", tag_field="op"):
    """A numeric function, traced and compiled into the artefact; float64 columns in and out."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Bucket(msgspec.Struct, frozen=True, tag="bucket", tag_field="op"):
    """Index of the interval of `edges` that holds the value: 0 to len(edges), a value on an edge goes right."""

    input: str
    edges: tuple[float, ...]
    output: str


class Stack(msgspec.Struct, frozen=True, tag="stack", tag_field="op"):
    """Columns side by side as one (batch, len(inputs)) float32 matrix: the model's input."""

    inputs: tuple[str, ...]
    output: str


class Model(msgspec.Struct, frozen=True, tag="model", tag_field="op"):
    """The model: a (batch, features) float32 matrix in, one (batch,) float32 column for each output."""

    input: str
    outputs: tuple[str, ...]


Step = Calendar | Lookup | Online | External | Function | Bucket | Stack | Model


class FeaturePlan(msgspec.Struct, frozen=True):
    """What a use case's request becomes: request fields, steps in order, answer fields."""

    request: tuple[Field, ...]
    steps: tuple[Step, ...]
    answer: tuple[Field, ...]
    version: int = PLAN_VERSION

    def __post_init__(self) -> None:
        if not 1 <= self.version <= PLAN_VERSION:
            raise ValueError(f"the plan has version {self.version}, this Bottega knows up to {PLAN_VERSION}")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        return next(step.inputs for step in self.steps if isinstance(step, Stack))

    @property
    def looked_up(self) -> tuple[str, ...]:
        """Columns that come from outside the request and the artefact: what a store or service said at that moment."""
        return tuple(column for step in self.steps if isinstance(step, Online | External) for column in step.outputs)

    def before_model(self) -> tuple[Step, ...]:
        """The steps that compute the model's input."""
        return self.steps[: self._model_at()]

    def after_model(self) -> tuple[Step, ...]:
        """The steps that turn the model's output into the answer."""
        return self.steps[self._model_at() + 1 :]

    def model(self) -> Model:
        """The one model step."""
        step = self.steps[self._model_at()]
        assert isinstance(step, Model)
        return step

    def _model_at(self) -> int:
        return next(i for i, step in enumerate(self.steps) if isinstance(step, Model))


@dataclass(frozen=True)
class Table:
    """A static table, addressed by integer keys: entry `sum(key * stride)`.

    `known` (size,) marks the entries that exist, `columns` (size,) float64 each, `defaults` answer for the rest.
    """

    strides: tuple[int, ...]
    known: np.ndarray
    columns: dict[str, np.ndarray]
    defaults: dict[str, float]

    @classmethod
    def from_keys(
        cls,
        keys: Sequence[np.ndarray],
        columns: Mapping[str, np.ndarray],
        defaults: Mapping[str, float] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> "Table":
        """Build from key columns (rows,) of non-negative integers and value columns (rows,).

        `sizes` bounds each key (exclusive); without it, each key's largest value does.
        """
        bounds = [int(size) for size in sizes] if sizes is not None else [int(key.max()) + 1 for key in keys]
        strides = tuple(int(np.prod(bounds[i + 1 :], dtype=np.int64)) for i in range(len(bounds)))
        for key, bound in zip(keys, bounds, strict=True):
            if len(key) and not 0 <= np.min(key) <= np.max(key) < bound:
                raise InvalidInput(
                    f"A table's keys lie between {np.min(key)} and {np.max(key)}, not in 0 to {bound - 1}."
                )
        entry = sum(
            (np.asarray(k, np.int64) * s for k, s in zip(keys, strides, strict=True)), np.zeros(len(keys[0]), np.int64)
        )
        size = int(np.prod(bounds, dtype=np.int64))
        known = np.zeros(size, bool)
        known[entry] = True
        fill = {name: float((defaults or {}).get(name, np.nan)) for name in columns}
        dense = {name: np.full(size, fill[name]) for name in columns}
        for name, values in columns.items():
            dense[name][entry] = values
        return cls(strides, known, dense, fill)

    def entries(self, keys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Entry of each key tuple and whether it is known: (batch,) int64 and (batch,) bool."""
        size = len(self.known)
        entry = np.zeros(len(keys[0]), np.int64)
        inside = np.ones(len(keys[0]), bool)
        bound = size
        for key, stride in zip(keys, self.strides, strict=True):
            given = np.asarray(key)
            if given.dtype.kind == "f":
                inside &= (given == np.floor(given)) & (np.abs(given) < 2**62)
                given = np.where(inside, given, 0)
            whole = given.astype(np.int64)
            inside &= (whole >= 0) & (whole < bound // stride)
            entry += whole * stride
            bound = stride
        entry = np.where(inside, entry, 0)
        return entry, inside & self.known[entry]

    def read(self, keys: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """The named columns at the keys, each (batch,) float64, with the default where a key is unknown."""
        entry, known = self.entries(keys)
        if known.all():
            return [self.columns[name][entry] for name in names]
        return [np.where(known, self.columns[name][entry], self.defaults[name]) for name in names]


Tables = dict[str, Table]


def save_tables(path: Path, tables: Tables) -> None:
    """Write tables to one `.npz` file (arrays only, no pickle)."""
    arrays: dict[str, np.ndarray] = {}
    for name, table in tables.items():
        arrays[f"{name}|strides"] = np.array(table.strides, np.int64)
        arrays[f"{name}|known"] = table.known
        for column, values in table.columns.items():
            arrays[f"{name}|column|{column}"] = values
            arrays[f"{name}|default|{column}"] = np.array(table.defaults[column])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_tables(path: Path) -> Tables:
    """Read tables that `save_tables` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        loaded = {key: arrays[key] for key in arrays.files}
    tables: Tables = {}
    for name in dict.fromkeys(key.split("|")[0] for key in loaded):
        columns = {k.split("|")[2]: v for k, v in loaded.items() if k.startswith(f"{name}|column|")}
        defaults = {k.split("|")[2]: float(v) for k, v in loaded.items() if k.startswith(f"{name}|default|")}
        strides = tuple(int(s) for s in loaded[f"{name}|strides"])
        tables[name] = Table(strides, loaded[f"{name}|known"], columns, defaults)
    return tables


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
            _, known = tables[field.known_in].entries([column])
            if not known.all():
                value = column[int(np.argmin(known))]
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
        if given and set(step_outputs(step)) <= given.keys():
            continue
        _run(step, ready, parts)
    return ready


def step_outputs(step: Step) -> tuple[str, ...]:
    match step:
        case Calendar() | Lookup() | Online() | External():
            return tuple(step.outputs)
        case Function() | Model():
            return step.outputs
        case Bucket() | Stack():
            return (step.output,)


def _run(step: Step, ready: Columns, parts: Parts) -> None:
    match step:
        case Calendar():
            ready.update(calendar_parts(ready[step.input], step.timezone, step.outputs))
        case Lookup():
            values = parts.tables[step.table].read([ready[k] for k in step.keys], list(step.outputs.values()))
            ready.update(zip(step.outputs, values, strict=True))
        case Online():
            found = parts.read_online(step.view, tuple(ready[k] for k in step.keys), ready[step.at])
            ready.update((column, found[feature]) for column, feature in step.outputs.items())
        case External():
            found = parts.read_external(step.service, tuple(ready[k] for k in step.keys), ready[step.at])
            ready.update((column, found[feature]) for column, feature in step.outputs.items())
        case Function():
            results = parts.functions[step.name](*(np.asarray(ready[name], np.float64) for name in step.inputs))
            ready.update(zip(step.outputs, results, strict=True))
        case Bucket():
            ready[step.output] = np.searchsorted(np.array(step.edges), ready[step.input], side="right")
        case Stack():
            ready[step.output] = np.stack([ready[n] for n in step.inputs], axis=1).astype(
                np.float32
            )  # (batch, features)
        case Model():
            predicted = parts.predict(ready[step.input])  # (batch, outputs) float32
            ready.update((name, predicted[:, i]) for i, name in enumerate(step.outputs))


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
