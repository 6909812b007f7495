"""Build of a plain model: an ONNX graph, or a tree ensemble, becomes a signed artefact without a feature plan.

lower -> compile -> check parity -> measure -> sign -> rename, as for a package; what the model takes and gives is read
from the graph, and it is checked on inputs made up for it.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bottega.compile import native
from bottega.compile.calls import Native
from bottega.compile.graph import read_graph
from bottega.compile.integer import is_quantised
from bottega.compile.manifest import Bucket, Manifest, Parity, hashes, write_manifest
from bottega.compile.measure import choose
from bottega.compile.order import BUCKETS, Order, check_free, whole_or_none
from bottega.compile.parity import require, tensor_error
from bottega.compile.plain import Plain, lower_graph, lower_trees
from bottega.compile.precision import Precision
from bottega.compile.runtime import CONSTANTS, KERNELS, REFERENCE, Artifact, load_natives
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.target import Target, for_integers
from bottega.compile.tensor_model import RunTensors
from bottega.compile.trees import Ensemble
from bottega.compile.tune import Tuner
from bottega.progress import Progress, silent

CHECKED_ROWS = 100
"""At least so many rows are compared at a time, so that one index changed by rounding is no error."""
_SEED = 1000


def build_plain(
    source: bytes | Ensemble,
    out: Path,
    *,
    name: str,
    version: str,
    key: bytes,
    buckets: Sequence[int] = BUCKETS,
    measure: bool = True,
    target: Target | None = None,
    precision: Precision | None = None,
    scheduler: Scheduler = schedule,
    progress: Progress = silent,
) -> Manifest:
    """Compile an ONNX model (its bytes) or an ensemble into the folder `out`, signed with `key`.

    The first axis of an input is the batch where the graph does not give its size; a graph without a batch has one
    bucket. Operators that TVM lacks leave the graph to ONNX Runtime, and the notes say so. Without `measure`, native
    code is taken where there is any. A quantised graph comes with what it costs, its `precision`; `scheduler` may be a
    tuner. Raises Conflict where `out` exists, InvalidData for bytes that are no model,
    IntegrityError where an answer differs from ONNX Runtime's, Unsupported for a model that has no artefact.
    """
    check_free(out)
    order = Order.place(version, key, buckets, measure=measure, target=target, progress=progress)
    order.done(0)
    if isinstance(source, Ensemble):
        plain = lower_trees(source, order)
    else:
        graph = read_graph(source)
        if is_quantised(graph.model):
            order = dataclasses.replace(order, target=for_integers(order.target))
        plain = lower_graph(graph, order, scheduler)
    if isinstance(scheduler, Tuner):
        plain.program.notes.extend(scheduler.notes())
    with whole_or_none(out) as folder:
        return _build(plain, folder, name, order, precision)


def _build(plain: Plain, folder: Path, name: str, order: Order, precision: Precision | None) -> Manifest:
    """What comes after lowering, in `folder`."""
    order.done(1)
    if plain.program.functions:
        native.build(plain.program.module(), order.target, folder / KERNELS)
        np.savez(folder / CONSTANTS, allow_pickle=False, **plain.program.constants)
    (folder / REFERENCE).write_bytes(plain.onnx)
    natives = load_natives(folder, plain.program.entries)
    order.done(2)
    parity = _check_candidates(plain, natives)
    order.done(3)
    engines = tuple(_choose(plain, natives, batch, order.measure) for batch in plain.candidates)
    entries = _keep_winners(plain, folder, engines)
    order.done(4)
    manifest = Manifest(
        usecase="",
        model=name,
        version=order.version,
        kind=plain.kind,
        plan=None,
        inputs=plain.inputs,
        outputs=plain.outputs,
        trained=None,
        metrics={},
        target=order.target,
        engines=engines,
        parity=parity,
        files=hashes(folder),
        entries=entries,
        precision=precision,
        notes=tuple(plain.program.notes),
    )
    write_manifest(folder, manifest, order.key)
    _check_artifact(plain, folder, order.key)
    order.done(5)
    return manifest


def _keep_winners(plain: Plain, folder: Path, engines: Sequence[Bucket]) -> dict[str, tuple[str, ...]]:
    """The functions that serve a bucket; what only the others need is not part of the artefact."""
    won = {bucket.entry for bucket in engines if bucket.engine == "tvm"}
    entries = {name: arrays for name, arrays in plain.program.entries.items() if name in won}
    if entries:
        needed = {name for arrays in entries.values() for name in arrays}
        constants = {name: array for name, array in plain.program.constants.items() if name in needed}
        np.savez(folder / CONSTANTS, allow_pickle=False, **constants)
    else:
        (folder / KERNELS).unlink(missing_ok=True)
        (folder / CONSTANTS).unlink(missing_ok=True)
    return entries


def _check_candidates(plain: Plain, natives: Mapping[str, Native]) -> Parity:
    """Every function that may serve a bucket, on full batches and a padded one. Raises IntegrityError."""
    worst, checked = 0.0, 0
    for batch, candidates in plain.candidates.items():
        batches = [max(CHECKED_ROWS, batch + batch // 2 + 1)] if plain.batched else [1] * CHECKED_ROWS
        for bucket in candidates:
            model = plain.model((bucket,), natives)
            worst = max(worst, _check(plain, f"{bucket.entry} at batch {batch}", model, batches, _SEED + batch))
        checked += sum(batches)
    return Parity(worst, checked, "ONNX Runtime")


def _check(plain: Plain, what: str, run: RunTensors, batches: Sequence[int], seed: int) -> float:
    """The largest error of any output, over made-up batches. Raises IntegrityError where it is beyond the tolerance."""
    pairs = []
    for i, rows in enumerate(batches):
        arrays = plain.draw(rows, seed + i)
        pairs.append((run(arrays, rows), plain.expected(arrays, rows)))
    worst = 0.0
    for i, tensor in enumerate(plain.outputs):
        error = tensor_error([answers[i] for answers, _ in pairs], [expected[i] for _, expected in pairs])
        require(f"{tensor.name!r} of {what}", error, plain.tolerance)
        worst = max(worst, error)
    return worst


def _choose(plain: Plain, natives: Mapping[str, Native], batch: int, measure: bool) -> Bucket:
    candidates = plain.candidates[batch]
    if candidates and not measure:
        return candidates[0]
    arrays = plain.draw(batch, _SEED)
    runs: list[Callable[[], object]] = []
    for bucket in candidates:
        runs.append(functools.partial(plain.model((bucket,), natives), arrays, batch))
    return choose(batch, list(zip(candidates, runs, strict=True)), functools.partial(plain.reference, arrays, batch))


def _check_artifact(plain: Plain, folder: Path, key: bytes) -> None:
    """The artefact as it will be loaded, on batches below, in and above its buckets. Raises IntegrityError."""
    artifact, names = Artifact.load(folder, key), [tensor.name for tensor in plain.inputs]

    def run(arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        return list(artifact.run(dict(zip(names, arrays, strict=True))).values())

    above = max(CHECKED_ROWS, max(plain.candidates) + 1)
    _check(plain, "the artefact", run, [1, 3, above] if plain.batched else [1] * CHECKED_ROWS, _SEED - CHECKED_ROWS)
