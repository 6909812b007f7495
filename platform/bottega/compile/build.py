"""Build: a model package becomes a signed artefact of native code, checked and measured on this machine.

lower -> compile -> check parity -> measure -> sign -> rename. Everything happens in a temporary folder beside the
target, so there is a whole artefact or none.
"""

import errno
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.compile import native, onnx_engine
from bottega.compile.candidates import Lowered, load_package, lower_package
from bottega.compile.manifest import Bucket, Manifest, Parity, Tensor, Trained, hashes, write_manifest
from bottega.compile.measure import choose
from bottega.compile.model import Model
from bottega.compile.runtime import CONSTANTS, KERNELS, REFERENCE, TABLES, load_natives
from bottega.compile.target import Target, host, misfit
from bottega.compile.verify import check_answers, check_model
from bottega.errors import Conflict, InvalidInput, Unsupported
from bottega.features.plan import save_tables
from bottega.files import disk_errors
from bottega.progress import Progress, silent
from bottega.training.package import MODEL_FILE, ModelPackage

BUCKETS = (1, 4, 16, 64, 256)
TASK = "Compiling"
STAGES = ("lower", "compile", "check parity", "measure", "sign")


@dataclass(frozen=True)
class _Order:
    """What is asked for: everything about a build but the package."""

    version: str
    key: bytes
    buckets: tuple[int, ...]
    measure: bool
    target: Target
    progress: Progress

    def done(self, stages: int) -> None:
        self.progress(TASK, stages, len(STAGES))


def build_artifact(
    package: Path,
    out: Path,
    *,
    version: str,
    key: bytes,
    buckets: Sequence[int] = BUCKETS,
    measure: bool = True,
    target: Target | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Compile the package in `package` into the folder `out`, signed with `key`.

    Without `measure`, native code is taken where there is any. Raises Conflict where `out` exists, InvalidData where
    `package` is no model package, IntegrityError where an answer differs from the reference's, Unsupported for a model
    that cannot be compiled, or for a target that this machine is not.
    """
    if out.exists():
        raise _exists(out)
    order = _Order(version, key, _ascending(buckets), measure, target or host(), progress)
    if reason := misfit(order.target):
        raise Unsupported(f"The target does not run here, so parity cannot be checked: {reason}.")
    loaded = load_package(package)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            manifest = _build(loaded, staging, order)
            staging.chmod(0o755)
            _rename(staging, out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return manifest


def _exists(out: Path) -> Conflict:
    return Conflict(f"The artefact {out} exists.", next_step="Versions never change: register a new one.")


def _rename(staging: Path, out: Path) -> None:
    """Raises Conflict where another build of the same version was faster."""
    try:
        staging.rename(out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _exists(out) from None
        raise


def _ascending(buckets: Sequence[int]) -> tuple[int, ...]:
    """Each once. Raises InvalidInput for none, or for one below 1."""
    sizes = tuple(sorted(set(buckets)))
    if not sizes or sizes[0] < 1:
        raise InvalidInput(f"The buckets are {list(buckets)}.", next_step="Give at least one, each 1 or more.")
    return sizes


def _build(package: ModelPackage, folder: Path, order: _Order) -> Manifest:
    """All stages, in `folder`."""
    order.done(0)
    lowered = lower_package(package, order.target)
    order.done(1)
    _write(package, lowered, folder, order.target)
    natives = load_natives(folder, lowered.program.entries)
    order.done(2)
    parity = check_model(package, lowered, natives, order.buckets)
    order.done(3)
    reference, engines = onnx_engine.model(lowered.onnx), []
    for batch in order.buckets:
        candidates = lowered.candidates(batch)
        if order.measure or not candidates:
            models = [Model(package.info.plan, (bucket,), natives, lambda: reference) for bucket in candidates]
            pairs = list(zip(candidates, models, strict=True))
            engines.append(choose(batch, pairs, reference, package.inputs))
        else:
            engines.append(candidates[0])
    order.done(4)
    manifest = _manifest(package, lowered, order, engines, parity, hashes(folder))
    write_manifest(folder, manifest, order.key)
    check_answers(package, folder, order.key)
    order.done(5)
    return manifest


def _write(package: ModelPackage, lowered: Lowered, folder: Path, target: Target) -> None:
    """Compile, and write every file but the manifest."""
    if lowered.program.functions:
        native.build(lowered.program.module(), target, folder / KERNELS)
        np.savez(folder / CONSTANTS, allow_pickle=False, **lowered.program.constants)
    save_tables(folder / TABLES, package.tables)
    (folder / REFERENCE).write_bytes(lowered.onnx)
    if package.info.kind == "trees":
        (folder / MODEL_FILE["trees"]).write_bytes(package.model)
    (folder / "functions").mkdir()
    for name, content in package.functions.items():
        (folder / "functions" / f"{name}.onnx").write_bytes(content)


def _manifest(
    package: ModelPackage,
    lowered: Lowered,
    order: _Order,
    engines: Sequence[Bucket],
    parity: Parity,
    files: dict[str, str],
) -> Manifest:
    info = package.info
    return Manifest(
        usecase=info.usecase,
        model=info.model,
        version=order.version,
        kind=info.kind,
        plan=info.plan,
        inputs=(Tensor("features", "FP32", (-1, len(info.plan.features))),),
        outputs=(Tensor("prediction", "FP32", (-1, len(info.plan.model().outputs))),),
        trained=Trained(**msgspec.structs.asdict(info.trained)),
        metrics=info.metrics,
        target=order.target,
        engines=tuple(engines),
        parity=parity,
        files=files,
        entries=lowered.program.entries,
        run_id=info.run_id,
        git_commit=info.git_commit,
        notes=tuple(lowered.program.notes),
    )
