"""Build: a model package becomes a signed artefact of native code, checked and measured on this machine.

lower -> compile -> check parity -> measure -> sign -> rename. Everything happens in a temporary folder beside the
target, so there is a whole artefact or none.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.compile import native, network, onnx_engine, parity, tree_kernels, tree_onnx
from bottega.compile.calls import Native
from bottega.compile.functions import add_functions
from bottega.compile.manifest import Bucket, Engine, Manifest, Parity, Tensor, Trained, hashes, write_manifest
from bottega.compile.measure import medians_us
from bottega.compile.program import Program
from bottega.compile.runtime import CONSTANTS, KERNELS, REFERENCE, TABLES, Artifact, Model, load_natives
from bottega.compile.target import Target, host, misfit
from bottega.compile.trees import read_xgboost
from bottega.errors import Conflict, InvalidInput, Unsupported
from bottega.features.plan import save_tables
from bottega.files import disk_errors
from bottega.progress import Progress, silent
from bottega.training.package import MODEL_FILE, ModelPackage
from bottega.training.reference import Reference

BUCKETS = (1, 4, 16, 64, 256)
TASK = "Compiling"
STAGES = ("lower", "compile", "check parity", "measure", "sign")
_RANDOM_ROWS = 1024
_SEED = 11


@dataclass(frozen=True)
class _Candidate:
    """A native function that can serve a bucket; `rows` as in the manifest's Bucket."""

    entry: str
    rows: int


@dataclass(frozen=True)
class _Lowered:
    """The program, the same model as ONNX, and which of the program's functions can serve which bucket."""

    program: Program
    onnx: bytes
    candidates: Callable[[int], list[_Candidate]]


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

    Without `measure`, native code is taken where there is any. Raises Conflict where `out` exists, IntegrityError where
    an answer differs from the reference's, Unsupported for a model that cannot be compiled, or for a target that this
    machine is not.
    """
    if out.exists():
        raise Conflict(f"The artefact {out} exists.", next_step="Versions never change: register a new one.")
    sizes = _checked(buckets)
    target = target or host()
    if reason := misfit(target):
        raise Unsupported(f"The target does not run here, so parity cannot be checked: {reason}.")
    loaded = ModelPackage.load(package)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            manifest = _build(loaded, staging, version, key, sizes, measure, target, progress)
            staging.chmod(0o755)
            staging.rename(out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return manifest


def _build(
    package: ModelPackage,
    folder: Path,
    version: str,
    key: bytes,
    buckets: Sequence[int],
    measure: bool,
    target: Target,
    progress: Progress,
) -> Manifest:
    """All stages, in `folder`."""
    report = iter(range(1, len(STAGES) + 1))
    progress(TASK, 0, len(STAGES))
    lowered = _lower(package, target)
    program = lowered.program
    progress(TASK, next(report), len(STAGES))
    _write(package, lowered, folder, target)
    natives = load_natives(folder, program.entries)
    progress(TASK, next(report), len(STAGES))
    found = _check_model(package, lowered, natives, buckets)
    progress(TASK, next(report), len(STAGES))
    engines = tuple(_choose(package, lowered, natives, bucket, measure) for bucket in buckets)
    progress(TASK, next(report), len(STAGES))
    manifest = _manifest(package, program, version, target, engines, found, hashes(folder))
    write_manifest(folder, manifest, key)
    _check_answers(package, folder, key)
    progress(TASK, next(report), len(STAGES))
    return manifest


def _lower(package: ModelPackage, target: Target) -> _Lowered:
    """From model and functions to TIR."""
    program, plan = Program(), package.info.plan
    add_functions(program, package.functions, target)
    if package.info.kind == "trees":
        ensemble = read_xgboost(package.model)
        if ensemble.features != len(plan.features):
            raise InvalidInput(f"The model takes {ensemble.features} features, the plan gives {len(plan.features)}.")
        tree_kernels.add_trees(program, ensemble)
        return _Lowered(
            program, tree_onnx.to_onnx(ensemble), lambda bucket: [_Candidate(n, 0) for n in tree_kernels.NAMES]
        )
    try:
        network.add_network(program, package.model, len(plan.features), target)
    except Unsupported as error:
        program.notes.append(f"The network runs on ONNX Runtime: {error.what}")
        return _Lowered(program, package.model, lambda bucket: [])
    return _Lowered(
        program, package.model, lambda bucket: [_Candidate(network.entry(s), s) for s in network.sizes_for(bucket)]
    )


def _write(package: ModelPackage, lowered: _Lowered, folder: Path, target: Target) -> None:
    """Compile and write every file but the manifest."""
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


def _model(package: ModelPackage, lowered: _Lowered, natives: Mapping[str, Native], bucket: Bucket) -> Model:
    return Model(package.info.plan, (bucket,), natives, lambda: onnx_engine.model(lowered.onnx))


def _check_model(
    package: ModelPackage, lowered: _Lowered, natives: Mapping[str, Native], buckets: Sequence[int]
) -> Parity:
    """Every function that could serve a bucket, against the framework, on real and on random rows."""
    trees = package.info.kind == "trees"
    inputs = np.ascontiguousarray(package.inputs, np.float32)
    random = parity.probes(inputs, _RANDOM_ROWS, _SEED, missing_anywhere=trees)
    rows = np.concatenate([inputs, random])
    expected = Reference(package).parts.predict(rows)
    worst, against = 0.0, "XGBoost" if trees else "ONNX Runtime"
    for bucket in buckets:
        for candidate in lowered.candidates(bucket):
            run = _model(package, lowered, natives, Bucket(bucket, "tvm", candidate.entry, candidate.rows))
            error = parity.relative_error(run(rows), expected)
            parity.require(f"{candidate.entry} at batch {bucket}", error, parity.MODEL_TOLERANCE)
            worst = max(worst, error)
    reference = _model(package, lowered, natives, Bucket(len(rows), "onnxruntime", ""))
    parity.require("The ONNX model", parity.relative_error(reference(rows), expected), parity.MODEL_TOLERANCE)
    return Parity(worst, len(rows), against)


def _choose(
    package: ModelPackage, lowered: _Lowered, natives: Mapping[str, Native], batch: int, measure: bool
) -> Bucket:
    """The engine of one bucket: the faster one, both taking turns on the same rows."""
    candidates = lowered.candidates(batch)
    if not candidates:
        return Bucket(batch, "onnxruntime", "")
    if not measure:
        return Bucket(batch, "tvm", candidates[0].entry, candidates[0].rows)
    rows = np.ascontiguousarray(np.resize(package.inputs, (batch, package.inputs.shape[1])), np.float32)
    reference = onnx_engine.model(lowered.onnx)
    engines: dict[str, Callable[[], object]] = {"onnxruntime": lambda: reference(rows)}
    for candidate in candidates:
        model = _model(package, lowered, natives, Bucket(batch, "tvm", candidate.entry, candidate.rows))
        engines[candidate.entry] = lambda model=model: model(rows)  # type: ignore[misc]
    times = medians_us(engines)
    best = min(candidates, key=lambda candidate: times[candidate.entry])
    tvm_us, onnxruntime_us = times[best.entry], times["onnxruntime"]
    engine: Engine = "tvm" if tvm_us <= onnxruntime_us else "onnxruntime"
    speedup = round(onnxruntime_us / tvm_us, 2)
    return Bucket(batch, engine, best.entry, best.rows, round(tvm_us, 2), round(onnxruntime_us, 2), speedup)


def _check_answers(package: ModelPackage, folder: Path, key: bytes) -> None:
    """The artefact as it will be loaded, whole plan, against the reference's answers to the sample requests."""
    if not package.samples:
        return
    artifact = Artifact.load(folder, key, _made_up)
    answers, expected = artifact.predict(package.samples), Reference(package, _made_up).predict(package.samples)
    for name in expected:
        parity.require(name, parity.relative_error(answers[name], expected[name]), parity.MODEL_TOLERANCE)


class _made_up(dict[str, np.ndarray]):
    """Any feature of any view: a number made of the keys and the feature's name, missing for some."""

    def __init__(self, view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> None:
        super().__init__()
        mixed = sum((np.asarray(key, np.int64) for key in keys), np.asarray(at_us, np.int64) // 60_000_000)
        self._values = np.where(mixed % 7 == 0, np.nan, mixed % 61).astype(np.float64)

    def __missing__(self, feature: str) -> np.ndarray:
        return self._values + len(feature)


def _manifest(
    package: ModelPackage,
    program: Program,
    version: str,
    target: Target,
    engines: tuple[Bucket, ...],
    found: Parity,
    files: dict[str, str],
) -> Manifest:
    info = package.info
    return Manifest(
        usecase=info.usecase,
        model=info.model,
        version=version,
        kind=info.kind,
        plan=info.plan,
        inputs=(Tensor("features", "FP32", (-1, len(info.plan.features))),),
        outputs=(Tensor("prediction", "FP32", (-1, len(info.plan.model().outputs))),),
        trained=Trained(**msgspec.structs.asdict(info.trained)),
        metrics=info.metrics,
        target=target,
        engines=engines,
        parity=found,
        files=files,
        entries=program.entries,
        run_id=info.run_id,
        git_commit=info.git_commit,
        notes=tuple(program.notes),
    )


def _checked(buckets: Sequence[int]) -> tuple[int, ...]:
    """Ascending, each once. Raises InvalidInput for none, or for one below 1."""
    sizes = tuple(sorted(set(buckets)))
    if not sizes or sizes[0] < 1:
        raise InvalidInput(f"The buckets are {list(buckets)}.", next_step="Give at least one, each 1 or more.")
    return sizes
