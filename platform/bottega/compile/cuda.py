"""CUDA: an ONNX graph becomes machine code for a GPU, on a machine that needs none.

The work is done in a process of its own (`cuda_worker.py`): what TVM needs to compile for a GPU that is not there must
stand in the environment when the process starts, and shall not stay in the caller's.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bottega import errors
from bottega.compile.cubin import require_cubin
from bottega.compile.cuda_artifact import MANIFEST, CudaManifest, Job, Outcome, Precision
from bottega.compile.cuda_toolkit import find_toolkit, make_driver
from bottega.errors import Conflict, InvalidInput, Unsupported

ARCH = "sm_90"
BUCKETS = (1, 16, 256, 4096)
REHEARSAL = "cpu"
"""The `arch` of a build for this machine's CPU, without a schedule: for trying a bundle where there is no GPU."""
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", REHEARSAL)


def build_cuda(
    onnx_bytes: bytes,
    buckets: Sequence[int] = BUCKETS,
    precision: Precision = "fp32",
    arch: str = ARCH,
    out: Path = Path("cuda"),
) -> CudaManifest:
    """Compile the graph at every batch size of `buckets` into the new folder `out`: a library each, the weights once.

    `fp16` computes products in half precision on tensor cores and sums in float32; inputs and outputs stay float32.
    Raises Conflict where `out` exists, InvalidInput for a bucket below 1, another precision or architecture,
    InvalidData for bytes that are no model, Unsupported without a CUDA toolkit or for a graph that TVM does not
    compile, IntegrityError where a library does not hold machine code for `arch`.
    """
    sizes = tuple(sorted(set(buckets)))
    if not sizes or sizes[0] < 1:
        raise InvalidInput(f"The buckets are {list(buckets)}.", next_step="Give at least one, each 1 or more.")
    if precision not in ("fp32", "fp16"):
        raise InvalidInput(f"The precision {precision!r} is unknown for CUDA.", next_step="Give fp32 or fp16.")
    if arch not in ARCHITECTURES:
        raise InvalidInput(f"{arch!r} is no GPU architecture.", next_step=f"Known are {', '.join(ARCHITECTURES[:-1])}.")
    if out.exists():
        raise Conflict(f"The artefact {out} exists.", next_step="Give a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        made = Path(scratch) / "artefact"
        made.mkdir()
        _compile(onnx_bytes, Job(sizes, precision, arch), Path(scratch))
        manifest = msgspec.json.decode((made / MANIFEST).read_bytes(), type=CudaManifest)
        if arch != REHEARSAL:
            for bucket in manifest.buckets:
                require_cubin(made / bucket.library, arch)
        made.rename(out)
    return manifest


def _compile(model: bytes, job: Job, folder: Path) -> None:
    """Run the worker on the model and the job in `folder`; what it raises is raised here."""
    (folder / "model.onnx").write_bytes(model)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    environment = dict(os.environ)
    if job.arch != REHEARSAL:
        toolkit = find_toolkit()
        make_driver(folder)
        environment = toolkit.environment(folder, environment)
    command = [sys.executable, "-m", "bottega.compile.cuda_worker", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-3:]
        raise Unsupported(f"The compiler ended with exit code {done.returncode}: {' '.join(words)}")
    outcome = msgspec.json.decode((folder / "outcome.json").read_bytes(), type=Outcome)
    if outcome.error:
        raise getattr(errors, outcome.error)(outcome.what, next_step=outcome.next_step)
