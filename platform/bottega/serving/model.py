"""Models as the protocol sees them: named tensors in, named tensors out, whatever stands behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bottega.features.steps import Columns
from bottega.serving.batcher import Batcher
from bottega.serving.express import Lane
from bottega.serving.metrics import ModelMetrics
from bottega.serving.protocol import InferRequest, ModelMetadata, RequestOutput
from bottega.serving.statistics import Statistics
from bottega.serving.trace import Trace


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request: what the batcher takes, its number of rows, and one id a row where the answers are logged."""

    columns: Columns
    rows: int
    ids: tuple[str, ...] = ()
    trace_id: str = ""


class Model(Protocol):
    """One version of a model that the protocol's routes can ask.

    `outputs` are the datatypes of its outputs by name, in order; `max_batch` is the most rows that requests are joined
    to, 0 where they never are; `lane` is there where requests of the common form can be answered by it.
    """

    name: str
    version: str
    max_batch: int
    outputs: Mapping[str, str]
    lane: Lane | None
    batcher: Batcher
    metrics: ModelMetrics
    statistics: Statistics

    def metadata(self) -> ModelMetadata:
        """Its tensors; `versions` holds its own version alone."""

    def prepare(self, request: InferRequest, arrays: dict[str, np.ndarray], trace: Trace) -> Prepared:
        """Check a request. Raises InvalidInput with the tensor, the value and the rule."""

    async def answer(self, prepared: Prepared) -> "tuple[Model, Columns]":
        """The answer's columns, and the version that gave them: its own, or a canary's."""

    def answered(self, prepared: Prepared, answers: Columns, received_ns: int) -> None:
        """Note an answered request in metrics and, where there is one, the prediction log."""


@dataclass(frozen=True, slots=True)
class Described:
    """An answer before it is encoded: outputs as (name, datatype, array), and when its request came and was parsed."""

    model: Model
    id: str
    outputs: list[tuple[str, str, np.ndarray]]
    rows: int
    received_ns: int
    parsed_ns: int


def classify(array: np.ndarray, count: int) -> np.ndarray:
    """The `count` greatest values of each row as text `value:index`, greatest first: (batch, count) BYTES."""
    flat = array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    found = np.empty(order.shape, object)
    for row, places in enumerate(order):
        found[row] = [f"{flat[row, place]:f}:{place}".encode() for place in places.tolist()]
    return found if array.ndim > 1 else found[0]


def class_count(output: RequestOutput) -> int:
    """How many classes a request asks of an output; 0 where it wants the tensor."""
    found = output.parameters.get("classification", 0)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0
