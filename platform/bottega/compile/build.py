"""Build: a model package becomes a signed artefact of native code, checked and measured on this machine.

lower -> compile -> check parity -> measure -> sign -> rename. Everything happens in a temporary folder beside the
target, so there is a whole artefact or none.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from bottega.compile import native, onnx_engine
from bottega.compile.calls import Native
from bottega.compile.candidates import Lowered, load_package, lower_package
from bottega.compile.manifest import Bucket, Manifest, Parity, Tensor, Trained, hashes, write_manifest
from bottega.compile.measure import choose
from bottega.compile.model import Model
from bottega.compile.order import BUCKETS, Order, check_free, whole_or_none
from bottega.compile.precision import Precision
from bottega.compile.quantise import BOUND
from bottega.compile.quantised_package import quantise_package
from bottega.compile.recorded import record
from bottega.compile.runtime import CONSTANTS, KERNELS, REFERENCE, TABLES, load_natives
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.target import Target, for_integers
from bottega.compile.tune import Tuner
from bottega.compile.verify import check_answers, check_model
from bottega.features.tables import save_tables
from bottega.progress import Progress, silent
from bottega.training.package import MODEL_FILE, ModelPackage


def build_artifact(
    package: Path,
    out: Path,
    *,
    version: str,
    key: bytes,
    buckets: Sequence[int] = BUCKETS,
    measure: bool = True,
    target: Target | None = None,
    int8: bool = False,
    bound: float = BOUND,
    scheduler: Scheduler = schedule,
    progress: Progress = silent,
) -> Manifest:
    """Compile the package in `package` into the folder `out`, signed with `key`.

    Without `measure`, native code is taken where there is any. With `int8` the network is quantised, at a loss of at
    most `bound` of its metric; `scheduler` may be a tuner. Raises Conflict where `out` exists, GateFailed where int8
    costs more, InvalidData where `package` is no model package, IntegrityError where an answer differs from the
    reference's, Unsupported for a model that cannot be compiled, or for a target that this machine is not.
    """
    check_free(out)
    order = Order.place(version, key, buckets, measure=measure, target=target, progress=progress)
    found, precision = load_package(package), None
    if int8:
        found, precision = quantise_package(found, bound=bound, progress=progress)
        order = dataclasses.replace(order, target=for_integers(order.target))
    with whole_or_none(out) as folder:
        return _build(found, folder, order, precision, scheduler)


def _build(
    package: ModelPackage, folder: Path, order: Order, precision: Precision | None, scheduler: Scheduler
) -> Manifest:
    """All stages, in `folder`."""
    order.done(0)
    lowered = lower_package(package, order.target, scheduler)
    if isinstance(scheduler, Tuner):
        lowered.program.notes.extend(scheduler.notes())
    order.done(1)
    _write(package, lowered, folder, order.target)
    natives = load_natives(folder, lowered.program.entries)
    order.done(2)
    parity = check_model(package, lowered, natives, order.buckets)
    order.done(3)
    engines = [_choose(package, lowered, natives, batch, order.measure) for batch in order.buckets]
    order.done(4)
    model = Model(package.info.plan, engines, natives, lambda: onnx_engine.model(lowered.onnx))
    record(folder, model, package.inputs)
    manifest = _manifest(package, lowered, order, engines, parity, hashes(folder), precision)
    write_manifest(folder, manifest, order.key)
    check_answers(package, folder, order.key)
    order.done(5)
    return manifest


def _choose(
    package: ModelPackage, lowered: Lowered, natives: Mapping[str, Native], batch: int, measure: bool
) -> Bucket:
    """The engine of one bucket, measured on the package's own rows."""
    candidates = lowered.candidates(batch)
    if candidates and not measure:
        return candidates[0]
    reference, inputs = onnx_engine.model(lowered.onnx), package.inputs
    rows = np.ascontiguousarray(np.resize(inputs, (batch, inputs.shape[1])))
    models = [Model(package.info.plan, (bucket,), natives, lambda: reference) for bucket in candidates]
    runs = [functools.partial(model, rows) for model in models]
    return choose(batch, list(zip(candidates, runs, strict=True)), functools.partial(reference, rows))


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
    order: Order,
    engines: Sequence[Bucket],
    parity: Parity,
    files: dict[str, str],
    precision: Precision | None,
) -> Manifest:
    info = package.info
    return Manifest(
        usecase=info.usecase,
        model=info.model,
        version=order.version,
        kind=info.kind,
        plan=info.plan,
        inputs=(Tensor("features", "FP32", (-1, len(info.plan.features)), missing=True),),
        outputs=(Tensor("prediction", "FP32", (-1, info.plan.model().width)),),
        trained=Trained(**msgspec.structs.asdict(info.trained)),
        metrics=info.metrics,
        target=order.target,
        engines=tuple(engines),
        parity=parity,
        files=files,
        entries=lowered.program.entries,
        run_id=info.run_id,
        git_commit=info.git_commit,
        precision=precision,
        notes=tuple(lowered.program.notes),
    )
