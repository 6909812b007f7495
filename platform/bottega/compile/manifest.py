"""The manifest of an artefact: what it is, what it was built from, what was measured; and its signature.

The signature (HMAC-SHA256 with the workspace's key) covers the manifest's bytes, and the manifest holds the SHA-256 of
every other file. Both are checked before anything is parsed or loaded: native code from elsewhere is never run.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Literal

import msgspec

from bottega.compile.precision import Precision
from bottega.compile.target import Target
from bottega.errors import IntegrityError, Unsupported
from bottega.features.plan import FeaturePlan
from bottega.files import sha256, write_atomic, write_json

FORMAT = 2
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
Engine = Literal["tvm", "onnxruntime"]
Kind = Literal["trees", "network"]


class Trained(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """What the model was trained on: span (UTC, ISO 8601, `until` exclusive), rows, origin of the data.

    The package has the same record; it is written out here because the server imports nothing of training.
    """

    since: str
    until: str
    rows: int
    data_source: str
    fingerprint: str


class Tensor(msgspec.Struct, frozen=True):
    """A tensor that the model takes or gives; -1 in `shape` is the batch.

    `lowest` and `highest`, both inclusive, are the range of an input whose values are ids, rows of a table in the
    graph: one number for all of a row's elements, or one for each in C order. `missing`: floats may be NaN.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    lowest: tuple[int, ...] = ()
    highest: tuple[int, ...] = ()
    missing: bool = False


class Bucket(msgspec.Struct, frozen=True):
    """Batches of up to `batch` rows: the engine that was faster here, and the native function (`entry`) for the size.

    `rows` is what one call of the entry takes (smaller batches are padded, larger ones are cut); 0: any number.
    Times are medians in microseconds for a full batch, one thread, both engines taking turns; 0 where not measured.
    """

    batch: int
    engine: Engine
    entry: str
    rows: int = 0
    tvm_us: float = 0.0
    onnxruntime_us: float = 0.0
    speedup: float = 0.0


class Parity(msgspec.Struct, frozen=True):
    """The largest relative error over `rows` rows, real and random, every bucket, `against` the reference."""

    max_rel_error: float
    rows: int
    against: str


class Manifest(msgspec.Struct, frozen=True):
    """`manifest.json`: everything about an artefact that is not one of its files.

    A plain model, one that was not trained here, has no `plan` and no `trained`: tensors in, tensors out.
    """

    usecase: str
    model: str
    version: str
    kind: Kind
    plan: FeaturePlan | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    trained: Trained | None
    metrics: dict[str, float]
    target: Target
    engines: tuple[Bucket, ...]
    parity: Parity
    files: dict[str, str]
    """Relative path to SHA-256."""
    entries: dict[str, tuple[str, ...]] = {}
    """Native functions by name, each with the arrays of `constants.npz` that it is called with, in order."""
    run_id: str = ""
    git_commit: str = ""
    precision: Precision | None = None
    """What a model in whole numbers costs; none for one in float32."""
    notes: tuple[str, ...] = ()
    """What a reader should know, for example why the network stayed on ONNX Runtime."""
    format: int = FORMAT

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order; none for a plain model."""
        return self.plan.features if self.plan else ()

    def of_usecase(self) -> tuple[FeaturePlan, Trained]:
        """The feature plan, and what it was trained on. Raises Unsupported for a plain model, which has neither."""
        if self.plan is None or self.trained is None:
            raise Unsupported(f"{self.model} is a plain model without a feature plan.")
        return self.plan, self.trained


def write_manifest(folder: Path, manifest: Manifest, key: bytes) -> None:
    """Write the manifest and its signature into `folder`."""
    write_json(folder / MANIFEST, manifest)
    write_atomic(folder / SIGNATURE, _signature((folder / MANIFEST).read_bytes(), key).encode())


def read_manifest(folder: Path, key: bytes) -> Manifest:
    """Check signature and files, then parse.

    Raises IntegrityError where the folder is not exactly what this workspace signed, Unsupported where a newer
    Bottega wrote it.
    """
    content = _bytes(folder, MANIFEST)
    signature = _bytes(folder, SIGNATURE)
    if not hmac.compare_digest(signature.strip(), _signature(content, key).encode()):
        raise _refused(folder, "its signature is not of this workspace")
    found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    newest = msgspec.json.decode(found.get("format", b"0"), type=int)
    if newest > FORMAT:
        raise Unsupported(f"{folder} has format {newest}, this Bottega knows up to {FORMAT}.")
    manifest = msgspec.json.decode(content, type=Manifest)
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise _refused(folder, f"{name} is missing or not the file that was signed")
    return manifest


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in `folder` but the manifest and its signature."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {n: sha256(p) for n, p in zip(names, paths, strict=True) if n not in (MANIFEST, SIGNATURE)}


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _refused(folder, f"{name} cannot be read ({error.strerror})") from None


def _signature(content: bytes, key: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _refused(folder: Path, reason: str) -> IntegrityError:
    return IntegrityError(f"The artefact {folder} is refused: {reason}.", next_step="Compile it again here.")
