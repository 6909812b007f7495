"""A bundle for a GPU machine: artefacts, TVM's runtime, and one script that checks and measures them.

The machine needs a GPU with its driver, Python and numpy; no package index, no CUDA toolkit, no Bottega. The bundle is
a folder, and the same packed, small enough to be sent in one piece.
"""

import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.compile import gpu_bundle, onnx_engine
from bottega.compile.cuda import ARCH, BUCKETS, REHEARSAL, build_cuda
from bottega.compile.cuda_artifact import Precision
from bottega.compile.cuda_toolkit import CUDART, find_toolkit, tvm_library
from bottega.errors import Conflict, InvalidInput, TooLarge
from bottega.progress import Progress, silent

LIMIT_MB = 60
TASK = "Building the bundle"
_SCRIPTS = ("run.py", "peers.py", "gpu.py", "tvm_abi.py")
_RUNTIME = ("libtvm_ffi.so", "libtvm_runtime.so")


@dataclass(frozen=True)
class Bundled:
    """A model to take along: its graph, rows of inputs by name, and for torch an exported program (`.pt2`)."""

    name: str
    onnx: bytes
    inputs: Mapping[str, np.ndarray]
    torch_program: bytes = b""


def write_bundle(
    out: Path,
    models: Sequence[Bundled],
    *,
    buckets: Sequence[int] = BUCKETS,
    precisions: Sequence[Precision] = ("fp32", "fp16"),
    arch: str = ARCH,
    progress: Progress = silent,
) -> Path:
    """Make the new folder `out` and its packed form beside it, whose path is the answer.

    The reference's answers to each model's inputs are computed here, by ONNX Runtime. Raises Conflict where `out`
    exists, TooLarge where the packed bundle is over 60 MB, and what `build_cuda` raises.
    """
    packed = out.with_name(f"{out.name}.tar.xz")
    if out.exists() or packed.exists():
        raise Conflict(f"The bundle {out} exists.", next_step="Give a new folder.")
    if not models:
        raise InvalidInput("The bundle has no model.", next_step="Give at least one.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder, steps = Path(scratch) / out.name, len(models) * len(precisions) + 1
        folder.mkdir()
        _carry(folder, arch)
        for done, (model, precision) in enumerate((m, p) for m in models for p in precisions):
            progress(TASK, done, steps)
            artefact = folder / "models" / model.name / precision
            build_cuda(model.onnx, buckets, precision, arch, artefact)
        for model in models:
            _write_model(folder / "models" / model.name, model)
        contents = {"arch": arch, "models": {model.name: list(precisions) for model in models}}
        (folder / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(contents)))
        progress(TASK, steps - 1, steps)
        _pack(folder, Path(scratch) / packed.name)
        (Path(scratch) / packed.name).rename(packed)
        folder.rename(out)
    progress(TASK, steps, steps)
    return packed


def _carry(folder: Path, arch: str) -> None:
    """The scripts, and the libraries that they load."""
    source, libraries = Path(next(iter(gpu_bundle.__path__))), [tvm_library(name) for name in _RUNTIME]
    if arch != REHEARSAL:
        libraries += [tvm_library("libtvm_runtime_cuda.so"), find_toolkit().libraries / CUDART]
    for name in _SCRIPTS:
        shutil.copyfile(source / name, folder / name)
    (folder / "lib").mkdir()
    for library in libraries:
        shutil.copyfile(library, folder / "lib" / library.name)


def _write_model(folder: Path, model: Bundled) -> None:
    """The reference's inputs and answers, and the model for other engines."""
    graph = onnx_engine.open_session(model.onnx)
    inputs = {port.name: np.ascontiguousarray(model.inputs[port.name]) for port in graph.get_inputs()}
    answers = dict(zip([port.name for port in graph.get_outputs()], graph.run(None, inputs), strict=True))
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays.update({f"output:{name}": array for name, array in answers.items()})
    np.savez(folder / "samples.npz", allow_pickle=False, **arrays)
    (folder / "model.onnx").write_bytes(model.onnx)
    if model.torch_program:
        (folder / "torch.pt2").write_bytes(model.torch_program)


def _pack(folder: Path, packed: Path) -> None:
    """The same weights stand in several files: a window over the whole bundle finds them again."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 128 << 20}]
    with lzma.open(packed, "wb", filters=filters) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder, folder.name)
    if (size := packed.stat().st_size) > LIMIT_MB * 1_000_000:
        raise TooLarge(
            f"The bundle has {size / 1e6:.0f} MB, the limit is {LIMIT_MB} MB.",
            next_step="Take fewer models or precisions, or fewer rows of inputs.",
        )
