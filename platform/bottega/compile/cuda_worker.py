"""The process that compiles for CUDA: reads a job and a model from a folder, writes the artefact beside them.

Started by `cuda.py` as `python -m bottega.compile.cuda_worker FOLDER`, in an environment made for it.
"""

import hashlib
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import tvm

from bottega.compile import cuda_lower
from bottega.compile.cost import cost
from bottega.compile.cuda_artifact import MANIFEST, WEIGHTS, CudaBucket, CudaManifest, Job, Outcome, Port
from bottega.compile.lower import read_onnx, tvm_errors
from bottega.errors import BottegaError, Unsupported


def main(folder: Path) -> None:
    """Do the job in `folder`, and write what became of it."""
    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
    try:
        compile_job(job, (folder / "model.onnx").read_bytes(), folder / "artefact")
        outcome = Outcome()
    except BottegaError as error:
        outcome = Outcome(type(error).__name__, error.what, error.next_step)
    (folder / "outcome.json").write_bytes(msgspec.json.encode(outcome))


def compile_job(job: Job, content: bytes, out: Path) -> None:
    """Compile every bucket into `out`. Raises InvalidData for no model, Unsupported for one that cannot be compiled."""
    model = read_onnx(content)
    inputs, outputs = [_port(value) for value in graph_inputs(model)], [_port(value) for value in model.graph.output]
    if not any(port.shape[:1] == (-1,) for port in inputs):
        raise Unsupported("No input has a batch axis.", next_step="Export the model with a dynamic first axis.")
    target = cuda_lower.target_of(job.arch)
    weights: dict[str, np.ndarray] = {}
    buckets = []
    for batch in job.buckets:
        library = f"batch_{batch}.so"
        with tvm_errors():
            lowered = cuda_lower.lower_cuda(model, batch, job.precision, target)
            cuda_lower.build_library(lowered, target).export_library(str(out / library))
        names = [_name(array) for array in lowered.weights]
        weights.update(zip(names, lowered.weights, strict=True))
        needed = cost(model, batch, 2 if job.precision == "fp16" else 4)
        counts = (needed.flops, needed.bytes, lowered.kernels, lowered.tensor_cores)
        buckets.append(CudaBucket(batch, library, tuple(names), *counts))
    np.savez(out / WEIGHTS, allow_pickle=False, **weights)
    manifest = CudaManifest(job.arch, job.precision, tuple(inputs), tuple(outputs), tuple(buckets), tvm.__version__)
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that the caller gives: those without a default value."""
    defaults = {initializer.name for initializer in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in defaults]


def _port(value: onnx.ValueInfoProto) -> Port:
    """Raises Unsupported where a dimension other than the first is not a number."""
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    if -1 in shape[1:]:
        raise Unsupported(f"{value.name} has the shape {shape}: only the first dimension may be the batch.")
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)


def _name(array: np.ndarray) -> str:
    """The same for equal arrays, so that each is kept once."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return "w" + hashlib.sha256(head + array.tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    os.environ.setdefault("TVM_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
