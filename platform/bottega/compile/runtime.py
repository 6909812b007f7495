"""Artifact: a compiled model, verified, loaded and ready to answer; the part of this package that the server needs.

It needs TVM's runtime library, numpy and msgspec; ONNX Runtime only where the manifest names it, or where this CPU
lacks what the native code was built for. Calls run on the calling thread and no other, and are safe from any number of
threads: each has buffers of its own. Several artefacts live in one process.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bottega.compile import library, onnx_engine
from bottega.compile.calls import Native, column_function
from bottega.compile.manifest import Manifest, read_manifest
from bottega.compile.model import Model
from bottega.compile.planned import Planned, no_online_store
from bottega.compile.target import misfit
from bottega.compile.tensor_model import RunTensors, TensorModel
from bottega.compile.tensors import Check, is_batched
from bottega.errors import Unsupported
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, ExternalRead, Function, NumericFunction, OnlineRead, no_services
from bottega.features.tables import Tables, load_tables

KERNELS = "kernels.so"
CONSTANTS = "constants.npz"
TABLES = "tables.npz"
REFERENCE = "model.onnx"
FUNCTION = "function_"


class Artifact:
    """One version of one model: tensors in and out, and around them its feature plan, where it has one.

    `fallback` says why native code is not used; empty where it is.
    """

    def __init__(self, manifest: Manifest, run: RunTensors, planned: Planned | None = None, fallback: str = "") -> None:
        self.manifest = manifest
        self.fallback = fallback
        self._run, self._planned = run, planned
        self._check = Check(manifest.inputs)
        self._batched = [is_batched(tensor) for tensor in manifest.inputs]
        self._outputs = tuple(tensor.name for tensor in manifest.outputs)

    @classmethod
    def load(
        cls,
        path: Path,
        key: bytes,
        read_online: OnlineRead | None = None,
        read_external: ExternalRead = no_services,
    ) -> "Artifact":
        """Verify the folder with the workspace's key, then load it.

        Raises IntegrityError where anything in it is not what was signed.
        """
        found = read_manifest(path, key)
        fallback = misfit(found.target)
        natives = {} if fallback else load_natives(path, found.entries)
        if found.plan is None:
            engines, reference = found.engines, lambda: onnx_engine.tensors(_reference(path))
            return cls(found, TensorModel(found.inputs, found.outputs, engines, natives, reference), None, fallback)
        model = Model(found.plan, found.engines, natives, lambda: onnx_engine.model(_reference(path)))
        functions = {s.name: _function(s, path, natives) for s in found.plan.steps if isinstance(s, Function)}
        tables = load_tables(path / TABLES)
        planned = Planned(found.plan, tables, model, functions, read_online or no_online_store, read_external)
        return cls(found, lambda arrays, rows: [planned.predict_raw(arrays[0])], planned, fallback)

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model alone: its inputs to its outputs, both by name, of any number of rows.

        Raises InvalidInput for a tensor that is missing or not one of the model's, of another datatype or shape, with
        an id that its table does not have, or with NaN where the model does not know what to do with it.
        """
        self._check(tensors)
        return self.run_checked(tensors)

    def run_checked(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`run`, for tensors that `check_tensors` let pass, or such that are joined of them along the batch."""
        arrays = [tensors[tensor.name] for tensor in self.manifest.inputs]
        rows = next((len(a) for a, batched in zip(arrays, self._batched, strict=True) if batched), 1)
        return dict(zip(self._outputs, self._run(arrays, rows), strict=True))

    def check_tensors(self, tensors: Mapping[str, np.ndarray]) -> int:
        """The rows of the batch; raises InvalidInput as `run` does."""
        return self._check(tensors)[1]

    @property
    def planned(self) -> Planned:
        """The feature plan around the model. Raises Unsupported for a plain model, which has none."""
        if self._planned is None:
            raise Unsupported(
                f"{self.manifest.model} is a plain model without a feature plan.",
                next_step="Call run with its tensors.",
            )
        return self._planned

    @property
    def plan(self) -> FeaturePlan:
        """From request to model input, and from its output to the answer."""
        return self.planned.plan

    @property
    def tables(self) -> Tables:
        """The tables that the plan looks up."""
        return self.planned.tables

    @property
    def model(self) -> Model:
        """The model between the plan's steps."""
        return self.planned.model

    def predict(self, columns: Columns) -> Columns:
        """Request columns, (batch,) each, to answer columns, (batch,) each.

        Raises InvalidInput for a request that the plan does not allow.
        """
        return self.planned.predict(columns)

    def check(self, columns: Columns) -> None:
        """Raise InvalidInput where the plan does not allow the request, as `check_request` does."""
        self.planned.check(columns)

    def before_model(self, columns: Columns) -> Columns:
        """Checked request columns to all columns up to the model's input, which is among them."""
        return self.planned.before_model(columns)

    def predict_raw(self, features: np.ndarray) -> np.ndarray:
        """(batch, features) float32, NaN where missing, to (batch, outputs) float32.

        Raises InvalidInput for another datatype or shape, and for infinite values.
        """
        return self.planned.predict_raw(features)

    def after_model(self, ready: Columns, predicted: np.ndarray) -> Columns:
        """Columns before the model and its output, (batch, outputs), to the answer's columns."""
        return self.planned.after_model(ready, predicted)


def load_natives(path: Path, entries: Mapping[str, Sequence[str]]) -> dict[str, Native]:
    """Every function of the artefact's library with its constants; equal constants are one array."""
    if not entries:
        return {}
    lookup = library.load(path / KERNELS)
    with np.load(path / CONSTANTS, allow_pickle=False) as arrays:
        shared = {name: library.tensor(library.aligned_copy(arrays[name])) for name in arrays.files}
    return {entry: Native(lookup(entry), tuple(shared[name] for name in names)) for entry, names in entries.items()}


def _reference(path: Path) -> bytes:
    return (path / REFERENCE).read_bytes()


def _function(step: Function, path: Path, natives: Mapping[str, Native]) -> NumericFunction:
    native = natives.get(FUNCTION + step.name)
    if native is None:
        return onnx_engine.function((path / "functions" / f"{step.name}.onnx").read_bytes())
    return column_function(native, len(step.inputs), len(step.outputs))
