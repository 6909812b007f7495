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
from bottega.compile.executor import bind_check, bind_steps
from bottega.compile.manifest import Manifest, read_manifest
from bottega.compile.model import Model
from bottega.compile.target import misfit
from bottega.errors import InvalidInput
from bottega.features.plan import (
    Columns,
    ExternalRead,
    FeaturePlan,
    Function,
    NumericFunction,
    OnlineRead,
    Parts,
    Tables,
    load_tables,
    no_services,
)

KERNELS = "kernels.so"
CONSTANTS = "constants.npz"
TABLES = "tables.npz"
REFERENCE = "model.onnx"
FUNCTION = "function_"


class Artifact:
    """One version of one use case. `fallback` says why native code is not used; empty where it is."""

    def __init__(
        self,
        manifest: Manifest,
        tables: Tables,
        model: Model,
        functions: Mapping[str, NumericFunction],
        read_online: OnlineRead,
        read_external: ExternalRead = no_services,
        fallback: str = "",
    ) -> None:
        self.manifest = manifest
        self.tables = tables
        self.model = model
        self.fallback = fallback
        parts, plan = Parts(tables, functions, read_online, model, read_external), manifest.plan
        self._check = bind_check(plan, tables)
        self._before, self._after = bind_steps(plan.before_model(), parts), bind_steps(plan.after_model(), parts)
        self._input, self._outputs = plan.model().input, plan.model().outputs
        self._answer = tuple(field.name for field in plan.answer)

    @property
    def plan(self) -> FeaturePlan:
        """From request to model input, and from its output to the answer."""
        return self.manifest.plan

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
        model = Model(found.plan, found.engines, natives, lambda: onnx_engine.model((path / REFERENCE).read_bytes()))
        functions = {
            step.name: _function(step, path, natives) for step in found.plan.steps if isinstance(step, Function)
        }
        tables = load_tables(path / TABLES)
        return cls(found, tables, model, functions, read_online or no_online_store, read_external, fallback)

    def predict(self, columns: Columns) -> Columns:
        """Request columns, (batch,) each, to answer columns, (batch,) each.

        Raises InvalidInput for a request that the plan does not allow.
        """
        self.check(columns)
        ready = self._before(columns)
        return self.after_model(ready, self.model(ready[self._input]))

    def check(self, columns: Columns) -> None:
        """Raise InvalidInput where the plan does not allow the request, as `check_request` does."""
        self._check(columns)

    def before_model(self, columns: Columns) -> Columns:
        """Checked request columns to all columns up to the model's input, which is among them."""
        return self._before(columns)

    def predict_raw(self, features: np.ndarray) -> np.ndarray:
        """(batch, features) float32, NaN where missing, to (batch, outputs) float32.

        Raises InvalidInput for another datatype or shape, and for infinite values.
        """
        self.model.check(features)
        return self.model(features)

    def after_model(self, ready: Columns, predicted: np.ndarray) -> Columns:
        """Columns before the model and its output, (batch, outputs), to the answer's columns."""
        done = self._after({**ready, **dict(zip(self._outputs, predicted.T, strict=True))})
        return {name: done[name] for name in self._answer}


def load_natives(path: Path, entries: Mapping[str, Sequence[str]]) -> dict[str, Native]:
    """Every function of the artefact's library with its constants; equal constants are one array."""
    if not entries:
        return {}
    lookup = library.load(path / KERNELS)
    with np.load(path / CONSTANTS, allow_pickle=False) as arrays:
        shared = {name: library.tensor(library.aligned_copy(arrays[name])) for name in arrays.files}
    return {entry: Native(lookup(entry), tuple(shared[name] for name in names)) for entry, names in entries.items()}


def _function(step: Function, path: Path, natives: Mapping[str, Native]) -> NumericFunction:
    native = natives.get(FUNCTION + step.name)
    if native is None:
        return onnx_engine.function((path / "functions" / f"{step.name}.onnx").read_bytes())
    return column_function(native, len(step.inputs), len(step.outputs))


def no_online_store(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    """The online read of an artefact that was loaded without one."""
    raise InvalidInput(
        f"The plan reads the view {view!r}, and the artefact was loaded without an online store.",
        next_step="Pass read_online to Artifact.load.",
    )
