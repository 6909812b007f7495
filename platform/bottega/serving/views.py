"""A use case's endpoint as two models of the protocol: its fields as tensors, and the model alone."""

from collections.abc import Mapping

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.steps import Columns
from bottega.serving.endpoint import RAW_SUFFIX, Endpoint
from bottega.serving.express import Lane
from bottega.serving.fields import request_columns
from bottega.serving.log import PredictionLog
from bottega.serving.model import Model, Prepared
from bottega.serving.protocol import InferRequest, ModelMetadata
from bottega.serving.rows import MAX_ROWS, check_id, new_id, number_ids
from bottega.serving.trace import Trace
from bottega.serving.traffic import Traffic
from bottega.serving.v1 import record


class UsecaseModel:
    """Request fields as tensors of one element a row; its answers are logged.

    With `traffic`, a request without a version, another version may answer; `role` is its part where it answers itself.
    """

    max_batch = MAX_ROWS
    lane: Lane | None = None

    def __init__(
        self, endpoint: Endpoint, log: PredictionLog, role: str = "champion", traffic: Traffic | None = None
    ) -> None:
        self._endpoint, self._log, self._role, self._traffic = endpoint, log, role, traffic
        self.name, self.version = endpoint.usecase, str(endpoint.version)
        self.outputs: Mapping[str, str] = {field.name: field.datatype for field in endpoint.plan.answer}
        self.batcher, self.metrics, self.statistics = endpoint.rows, endpoint.metrics, endpoint.statistics

    def metadata(self) -> ModelMetadata:
        """Request fields in, answer fields out."""
        return self._endpoint.metadata()

    def prepare(self, request: InferRequest, arrays: dict[str, np.ndarray], trace: Trace) -> Prepared:
        """The request's fields as columns."""
        columns = request_columns(self._endpoint.plan, request, arrays)
        self._endpoint.check(columns)
        rows = len(next(iter(columns.values())))
        given = request.id or trace.request_id
        ids = number_ids(check_id(given) if given else new_id(), rows)
        return Prepared(columns, rows, ids, trace.trace_id)

    async def answer(self, prepared: Prepared) -> tuple[Model, Columns]:
        """By the champion or, where there is one and the request is its own, the canary."""
        if self._traffic is None:
            return self, await self.batcher.submit(prepared.columns, prepared.rows)
        endpoint, role, answers = await self._traffic.answer(prepared.columns, prepared.ids)
        return self if endpoint is self._endpoint else UsecaseModel(endpoint, self._log, role), answers

    def answered(self, prepared: Prepared, answers: Columns, received_ns: int) -> None:
        """Count it, and hand it to the prediction log."""
        ids, columns, trace_id = prepared.ids, prepared.columns, prepared.trace_id
        record(self._endpoint, ids, columns, answers, received_ns, self._log, self._role, trace_id)


class RawModel:
    """The model's input matrix in, its output out; nothing is logged."""

    max_batch = MAX_ROWS

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        manifest = endpoint.artifact.manifest
        self._input = manifest.inputs[0].name
        self.name, self.version = endpoint.usecase + RAW_SUFFIX, str(endpoint.version)
        self.outputs: Mapping[str, str] = {tensor.name: tensor.datatype for tensor in manifest.outputs}
        self.lane = endpoint.raw_lane
        self.batcher, self.metrics, self.statistics = endpoint.raw, endpoint.raw_metrics, endpoint.raw_statistics

    def metadata(self) -> ModelMetadata:
        """The artefact's tensors."""
        return self._endpoint.raw_metadata()

    def prepare(self, request: InferRequest, arrays: dict[str, np.ndarray], trace: Trace) -> Prepared:
        """The one matrix that the model takes."""
        if arrays.keys() != {self._input}:
            given = ", ".join(arrays) or "none"
            raise InvalidInput(f"{self.name} takes one input, {self._input!r}; given: {given[:200]}.")
        self._endpoint.check_raw(arrays[self._input])
        return Prepared(arrays, len(arrays[self._input]))

    async def answer(self, prepared: Prepared) -> tuple[Model, Columns]:
        """By this version."""
        return self, await self.batcher.submit(prepared.columns, prepared.rows)

    def answered(self, prepared: Prepared, answers: Columns, received_ns: int) -> None:
        """Count it."""
        self.metrics.answered(prepared.rows)
