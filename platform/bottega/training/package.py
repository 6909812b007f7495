"""The model package: what training hands to the registry and to the compile step.

A folder of data, never of code: `package.json`, the plan's tables, the reference model in a safe format (XGBoost UBJ
or ONNX), each numeric function traced to ONNX, and sample requests for the parity checks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.features.tables import Tables, load_tables, save_tables
from bottega.files import write_json

Kind = Literal["trees", "network"]
_LABEL = "__label__"
MODEL_FILE: Mapping[str, str] = {"trees": "model.ubj", "network": "model.onnx"}


class Trained(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """The span (UTC, ISO 8601, `until` exclusive), the number of rows and the origin of the training data."""

    since: str
    until: str
    rows: int
    data_source: str
    fingerprint: str


class PackageInfo(msgspec.Struct, frozen=True):
    """`package.json`."""

    usecase: str
    model: str
    kind: Kind
    plan: FeaturePlan
    trained: Trained
    metrics: dict[str, float]
    git_commit: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class ModelPackage:
    """A package on disk, its small parts in memory.

    `functions` maps a function's name to the ONNX bytes of its trace: float64 inputs (batch,) in the order of the plan
    step, float64 outputs (batch,). `samples` are raw request columns, as the server would receive them, for parity
    checks: (samples,) each.
    """

    info: PackageInfo
    tables: Tables
    model: bytes
    functions: dict[str, bytes] = field(default_factory=dict)
    samples: Columns = field(default_factory=dict)
    inputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """Model inputs of real rows, (samples, features) float32, for parity and measurement."""
    labels: Columns = field(default_factory=dict)
    """What the answers of the samples turned out to be, (samples,) each, by answer field; none where nobody knows."""

    def save(self, folder: Path) -> None:
        """Write the package into `folder`, which must be empty or absent."""
        (folder / "functions").mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE[self.info.kind]).write_bytes(self.model)
        for name, onnx in self.functions.items():
            (folder / "functions" / f"{name}.onnx").write_bytes(onnx)
        save_tables(folder / "tables.npz", self.tables)
        labels = {_LABEL + name: label for name, label in self.labels.items()}
        np.savez_compressed(
            folder / "samples.npz", allow_pickle=False, __inputs__=self.inputs, **self.samples, **labels
        )
        write_json(folder / "package.json", self.info)

    @classmethod
    def load(cls, folder: Path) -> "ModelPackage":
        """Read a package that `save` wrote."""
        info = msgspec.json.decode((folder / "package.json").read_bytes(), type=PackageInfo)
        with np.load(folder / "samples.npz", allow_pickle=False) as arrays:
            samples = {name: arrays[name] for name in arrays.files}
        inputs = samples.pop("__inputs__")
        labels = {name: samples.pop(name) for name in tuple(samples) if name.startswith(_LABEL)}
        known = {name.removeprefix(_LABEL): label for name, label in labels.items()}
        functions = {path.stem: path.read_bytes() for path in sorted((folder / "functions").glob("*.onnx"))}
        model = (folder / MODEL_FILE[info.kind]).read_bytes()
        return cls(info, load_tables(folder / "tables.npz"), model, functions, samples, inputs, known)
