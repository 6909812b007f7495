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
_TEXT, _BYTES, _ENDS = "__text__", "__byte__", "__ends__"
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
        samples = {key: array for name, column in self.samples.items() for key, array in _packed(name, column).items()}
        np.savez_compressed(folder / "samples.npz", allow_pickle=False, __inputs__=self.inputs, **samples, **labels)
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
        samples = _unpacked(samples)
        functions = {path.stem: path.read_bytes() for path in sorted((folder / "functions").glob("*.onnx"))}
        model = (folder / MODEL_FILE[info.kind]).read_bytes()
        return cls(info, load_tables(folder / "tables.npz"), model, functions, samples, inputs, known)


def _packed(name: str, column: np.ndarray) -> Columns:
    """A column as arrays that need no pickle: texts and files as their bytes one after another, and where each ends."""
    if column.dtype != object:
        return {name: column}
    flat = column.reshape(-1).tolist()
    content = [value if isinstance(value, bytes) else value.encode() for value in flat]
    kind = _BYTES if flat and isinstance(flat[0], bytes) else _TEXT
    ends = np.cumsum([len(value) for value in content], dtype=np.int64).reshape(column.shape)
    return {kind + name: np.frombuffer(b"".join(content), np.uint8), _ENDS + name: ends}


def _unpacked(arrays: Columns) -> Columns:
    found: Columns = {}
    for key, array in arrays.items():
        kind, name = key[: len(_TEXT)], key[len(_TEXT) :]
        if kind not in (_BYTES, _TEXT):
            if not key.startswith(_ENDS):
                found[key] = array
            continue
        ends, content = arrays[_ENDS + name], array.tobytes()
        starts = np.concatenate([[0], ends.reshape(-1)[:-1]]) if ends.size else ends.reshape(-1)
        column = np.empty(ends.size, object)
        column[:] = [content[a:b] for a, b in zip(starts.tolist(), ends.reshape(-1).tolist(), strict=True)]
        if kind == _TEXT:
            column[:] = [value.decode() for value in column]
        found[name] = column.reshape(ends.shape)
    return found
