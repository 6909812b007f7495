"""Endpoint: one version of one use case, loaded, warm and ready to answer."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from bottega.compile.recorded import check_recorded
from bottega.compile.runtime import Artifact
from bottega.errors import InvalidInput, TooLarge
from bottega.features.picture_step import Picture
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, External, ExternalRead, OnlineRead
from bottega.features.tables import Tables
from bottega.schema import NUMPY_OF, Field
from bottega.serving.batcher import WAITING_THREADS, Batcher
from bottega.serving.common_form import CommonForm, is_common
from bottega.serving.explanation import Explainer
from bottega.serving.express import Lane
from bottega.serving.metrics import Metrics, ModelMetrics
from bottega.serving.protocol import ModelMetadata, TensorSpec
from bottega.serving.row_form import RowForm
from bottega.serving.rows import MAX_ROWS
from bottega.serving.statistics import Statistics
from bottega.times import from_epoch_us, parse_time, to_epoch_us

LAST_US = to_epoch_us(datetime(2100, 1, 1, tzinfo=UTC))
RAW_SUFFIX = "-raw"
RAW_ROWS = 256
"""The most rows of a batch of the raw view's lane."""


class Endpoint:
    """Answers requests of one model version: whole rows, or the model alone ("raw").

    Both ways batch by loop turn, and each has metrics of its own: raw tensors are no predictions of the use case.
    """

    def __init__(self, artifact: Artifact, usecase: str, version: int, metrics: Metrics) -> None:
        self.artifact = artifact
        self.usecase = usecase
        self.version = version
        self.plan: FeaturePlan = artifact.plan
        self.first_us = to_epoch_us(parse_time(artifact.manifest.of_usecase()[1].since, "UTC"))
        self.metrics = metrics.model(usecase)
        self.raw_metrics = metrics.model(usecase + RAW_SUFFIX)
        self.statistics, self.raw_statistics = Statistics(), Statistics()
        self.explainer, self.row_form = Explainer(self.plan), RowForm(self.plan)
        timed = _Timed(artifact, self.explainer.columns, self.metrics, self.raw_metrics)
        waits = any(isinstance(step, External) for step in self.plan.steps)
        slow = any(isinstance(step, Picture) for step in self.plan.steps)  # to decode takes milliseconds
        self.threads = WAITING_THREADS if waits else int(slow)
        self.rows = Batcher(timed.answer, self.metrics.stages["queue"].observe_ns, threads=self.threads)
        self.raw = Batcher(timed.answer_raw, self.raw_metrics.stages["queue"].observe_ns)
        self.raw_lane = _raw_lane(artifact, self.raw_metadata(), self.raw_metrics, self.raw_statistics, self.raw)

    @classmethod
    def load(
        cls,
        folder: Path,
        usecase: str,
        version: int,
        key: bytes,
        read_online: OnlineRead,
        read_external: ExternalRead,
        metrics: Metrics,
    ) -> "Endpoint":
        """Load an artefact, run it once in each way and size, so that the first client waits for nothing, and check it.

        Raises IntegrityError where it is not what was signed, or does not answer as it did when it was built.
        """
        endpoint = cls(Artifact.load(folder, key, read_online, read_external), usecase, version, metrics)
        check_recorded(folder, endpoint.artifact.manifest, endpoint.artifact.predict_raw)
        endpoint.warm()
        return endpoint

    def warm(self) -> None:
        """Answer a made-up row, and a made-up tensor of each size that has code of its own."""
        self.artifact.predict(example(self.plan, self.artifact.tables, self.first_us))
        for bucket in self.artifact.manifest.engines:
            self.artifact.predict_raw(np.zeros((bucket.batch, len(self.plan.features)), np.float32))

    def answer(self, columns: Columns) -> Columns:
        """What `rows` answers, at once, on the calling thread, and without a note in the metrics."""
        ready = self.artifact.before_model(columns)
        predicted = self.artifact.predict_raw(ready[self.plan.model().input])
        answers = typed(self.plan.answer, self.artifact.after_model(ready, predicted))
        return {**{name: ready[name] for name in self.explainer.columns}, **answers}

    def check(self, columns: Columns) -> None:
        """Raise InvalidInput unless every row is one that the model can answer."""
        self.artifact.check(columns)
        for field in self.plan.request:
            if field.is_time:
                self._check_time(field, columns[field.name])

    def _check_time(self, field: Field, at_us: np.ndarray) -> None:
        if len(at_us) == 1 and self.first_us <= at_us.item() < LAST_US:
            return
        if int(at_us.min()) < self.first_us:
            raise InvalidInput(
                f"{field.name} is before the data: its first moment is {from_epoch_us(self.first_us).isoformat()}.",
                next_step="Give that moment or a later one.",
            )
        if int(at_us.max()) >= LAST_US:
            raise InvalidInput(f"{field.name} is after the year 2099.", next_step="Give an earlier moment.")

    def check_raw(self, features: np.ndarray) -> None:
        """Raise InvalidInput unless the tensor is one that the compiled code may see."""
        self.artifact.model.check(features)
        if len(features) > MAX_ROWS:
            raise TooLarge(
                f"'features' has {len(features)} rows; {MAX_ROWS} is the limit.", next_step="Send several requests."
            )

    def metadata(self) -> ModelMetadata:
        """The use-case view: request fields in, answer fields out, one row of each a row of the batch."""
        return ModelMetadata(
            self.usecase,
            [str(self.version)],
            "bottega_usecase",
            [TensorSpec(field.name, field.datatype, (-1, *field.shape)) for field in self.plan.request],
            [TensorSpec(field.name, field.datatype, (-1, *field.shape)) for field in self.plan.answer],
        )

    def raw_metadata(self) -> ModelMetadata:
        """The raw view: the model's input matrix in, its output out."""
        return ModelMetadata(
            self.usecase + RAW_SUFFIX,
            [str(self.version)],
            "bottega_compiled",
            [TensorSpec(t.name, t.datatype, t.shape) for t in self.artifact.manifest.inputs],
            [TensorSpec(t.name, t.datatype, t.shape) for t in self.artifact.manifest.outputs],
        )


class _Timed:
    """An artefact that notes the time of each stage.

    Apart from Endpoint, so that the batchers hold no way back to it: a swapped-out version, which is megabytes, goes
    when its last request is answered and not when the garbage collector comes by.
    """

    def __init__(
        self, artifact: Artifact, kept: tuple[str, ...], metrics: ModelMetrics, raw_metrics: ModelMetrics
    ) -> None:
        self.artifact = artifact
        self.stages = metrics.stages
        self.raw_stages = raw_metrics.stages
        self._model_input = artifact.plan.model().input
        self._kept = kept

    def answer(self, columns: Columns) -> Columns:
        """Request columns to answer columns and what explains them, (batch,) each, with the time of each stage."""
        started = perf_counter_ns()
        ready = self.artifact.before_model(columns)
        prepared = perf_counter_ns()
        predicted = self.artifact.predict_raw(ready[self._model_input])
        ran = perf_counter_ns()
        answers = typed(self.artifact.plan.answer, self.artifact.after_model(ready, predicted))
        done = perf_counter_ns()
        self.stages["features"].observe_ns(prepared - started)
        self.stages["run"].observe_ns(ran - prepared)
        self.stages["post"].observe_ns(done - ran)
        return {**{name: ready[name] for name in self._kept}, **answers}

    def answer_raw(self, columns: Columns) -> Columns:
        """The model's input matrix to its output, with the time of the run."""
        started = perf_counter_ns()
        predicted = self.artifact.predict_raw(columns[self.artifact.manifest.inputs[0].name])
        self.raw_stages["run"].observe_ns(perf_counter_ns() - started)
        return {self.artifact.manifest.outputs[0].name: predicted}


def _raw_lane(
    artifact: Artifact, raw: ModelMetadata, metrics: ModelMetrics, statistics: Statistics, batcher: Batcher
) -> Lane | None:
    """The express lane of the raw view; like `_Timed` it holds no way back to the endpoint."""
    given, answer = raw.inputs[0].name, raw.outputs[0].name

    def run(arrays: Columns) -> Columns:
        return {answer: artifact.predict_raw(arrays[given])}

    def check(_: Columns) -> None:
        """Nothing: `predict_raw` checks."""

    if not is_common(raw.inputs, raw.outputs):
        return None
    form = CommonForm(raw.name, raw.versions[0], raw.inputs, raw.outputs)
    return Lane(form, check, run, RAW_ROWS, metrics, statistics, batcher)


def typed(fields: Sequence[Field], columns: Columns) -> Columns:
    """Columns in the datatypes that their fields declare, so that JSON, tensors and the log hold the same values."""
    return {field.name: np.asarray(columns[field.name], NUMPY_OF[field.datatype]) for field in fields}


def example(plan: FeaturePlan, tables: Tables, first_us: int) -> Columns:
    """One valid row: the first known ids, the first moment, the smallest numbers that the fields allow."""
    columns: Columns = {}
    for field in plan.request:
        if field.is_time:
            value: object = from_epoch_us(first_us).isoformat()
        elif field.datatype == "BYTES":
            value = field.example
        else:
            known = np.flatnonzero(tables[field.known_in].known)[0] if field.known_in else field.minimum or 0
            value = known.item() if isinstance(known, np.generic) else known
        columns[field.name] = field.column([[value] * field.shape[0] if field.shape else value])
    return columns
