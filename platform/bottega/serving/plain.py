"""Plain models: a folder of a model repository, without a use case around it, as a model of the protocol."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np

from bottega.compile.runtime import REFERENCE, Artifact
from bottega.errors import IntegrityError, InvalidData, InvalidInput, TooLarge
from bottega.features.steps import Columns
from bottega.serving.batcher import Batcher
from bottega.serving.common_form import CommonForm, is_common
from bottega.serving.config import ModelConfig
from bottega.serving.express import Lane
from bottega.serving.metrics import Metrics, ModelMetrics
from bottega.serving.model import Model, Prepared
from bottega.serving.onnx_model import OnnxModel
from bottega.serving.protocol import DATATYPES, InferRequest, ModelMetadata, TensorSpec
from bottega.serving.rows import MAX_ROWS
from bottega.serving.statistics import Statistics
from bottega.serving.trace import Trace

SLOW_NS = 5_000_000
"""A model that takes longer for one row runs in a thread, so that the event loop goes on."""


class Engine(Protocol):
    """What runs a plain model: its tensors, a check, and a run of checked tensors."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    joins: bool
    """Whether requests may be joined along the first axis."""

    def check(self, arrays: Mapping[str, np.ndarray]) -> int:
        """The rows of a request. Raises InvalidInput for what the model does not take."""

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Checked inputs to outputs."""


class ArtifactEngine:
    """An artefact that this workspace signed."""

    platform = "bottega_compiled"

    def __init__(self, artifact: Artifact) -> None:
        manifest = artifact.manifest
        self._artifact = artifact
        self.inputs = tuple(TensorSpec(t.name, t.datatype, t.shape) for t in manifest.inputs)
        self.outputs = tuple(TensorSpec(t.name, t.datatype, t.shape) for t in manifest.outputs)
        self.joins = all(tensor.shape[:1] == (-1,) for tensor in (*self.inputs, *self.outputs))

    def check(self, arrays: Mapping[str, np.ndarray]) -> int:
        """By the manifest: types, shapes, ids, missing values."""
        return self._artifact.check_tensors(arrays)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """On the engine that was faster when it was compiled."""
        return self._artifact.run_checked(arrays)


class PlainModel:
    """One version of a plain model. `note` says what a reader should know, for example why native code is not used."""

    def __init__(
        self, name: str, version: str, engine: Engine, config: ModelConfig, metrics: Metrics, note: str = ""
    ) -> None:
        config.check(name, engine.inputs, engine.outputs)
        self.name, self.version, self.note, self.config = name, version, note, config
        self._engine = engine
        joins = engine.joins and (config.max_batch_size > 0 or isinstance(engine, ArtifactEngine))
        self.max_batch = (config.max_batch_size or MAX_ROWS) if joins else config.max_batch_size
        self.outputs: Mapping[str, str] = {tensor.name: tensor.datatype for tensor in engine.outputs}
        self.metrics, self.statistics = metrics.model(name), Statistics()
        slow = self._warm()
        self.batcher = Batcher(
            _timed(engine, self.metrics),
            self.metrics.stages["queue"].observe_ns,
            self.max_batch if joins else 0,
            threads=int(slow),
        )
        self.lane = self._lane() if joins and not slow and is_common(engine.inputs, engine.outputs) else None

    def metadata(self) -> ModelMetadata:
        """Its tensors; -1 is any size."""
        return ModelMetadata(
            self.name, [self.version], self._engine.platform, list(self._engine.inputs), list(self._engine.outputs)
        )

    def prepare(self, request: InferRequest, arrays: dict[str, np.ndarray], trace: Trace) -> Prepared:
        """The tensors, as they are."""
        rows = self._engine.check(arrays)
        limit = self.config.max_batch_size or MAX_ROWS
        if rows > limit:
            raise TooLarge(f"The request has {rows} rows; {limit} is the limit.", next_step="Send several requests.")
        return Prepared(arrays, rows)

    async def answer(self, prepared: Prepared) -> tuple[Model, Columns]:
        """By this version."""
        return self, await self.batcher.submit(prepared.columns, prepared.rows)

    def answered(self, prepared: Prepared, answers: Columns, received_ns: int) -> None:
        """Count it."""
        self.metrics.answered(prepared.rows)

    def _lane(self) -> Lane:
        engine = self._engine
        form = CommonForm(self.name, self.version, engine.inputs, engine.outputs)
        return Lane(form, engine.check, engine.run, self.max_batch, self.metrics, self.statistics, self.batcher)

    def _warm(self) -> bool:
        """Run a made-up row; whether the model is slow. One that refuses made-up values runs in a thread."""
        arrays = {tensor.name: _made_up(tensor) for tensor in self._engine.inputs}
        try:
            self._engine.check(arrays)
            self._engine.run(arrays)
            return min(self._timed_ns(arrays) for _ in range(3)) > SLOW_NS  # the least: others may have had the core
        except InvalidInput:
            return True

    def _timed_ns(self, arrays: Mapping[str, np.ndarray]) -> int:
        began_ns = perf_counter_ns()
        self._engine.run(arrays)
        return perf_counter_ns() - began_ns


def _timed(engine: Engine, metrics: ModelMetrics) -> Callable[[Columns], Columns]:
    """A run of the engine that notes its time; it holds no way back to the model, which so goes with its last user."""

    def run(columns: Columns) -> Columns:
        began_ns = perf_counter_ns()
        found = engine.run(columns)
        metrics.stages["run"].observe_ns(perf_counter_ns() - began_ns)
        return found

    return run


def load_plain(
    folder: Path, name: str, version: str, config: ModelConfig, key: Callable[[], bytes], metrics: Metrics
) -> PlainModel:
    """The model in `folder`: an artefact of this workspace, or an ONNX file.

    An artefact that somebody else signed runs by its ONNX reference, which is data; its native code is not loaded.
    Raises InvalidData where the folder holds no model.
    """
    note = ""
    if (folder / "manifest.json").is_file():
        try:
            return PlainModel(name, version, ArtifactEngine(Artifact.load(folder, key())), config, metrics)
        except IntegrityError as error:
            note = f"It runs by its ONNX reference: {error.what}"
    path = folder / (config.filename or REFERENCE)
    if not path.is_file():
        raise InvalidData(
            f"{folder} holds neither a manifest.json that this workspace signed nor {path.name}. {note}".strip(),
            next_step="Put model.onnx there, or run 'bottega compile'.",
        )
    return PlainModel(name, version, OnnxModel.load(path, config.max_batch_size > 0), config, metrics, note)


def _made_up(tensor: TensorSpec) -> np.ndarray[Any, Any]:
    shape = tuple(1 if size == -1 else size for size in tensor.shape)
    if tensor.datatype == "BYTES":
        return np.full(shape, b"0", object)
    return np.zeros(shape, DATATYPES[tensor.datatype])
