"""What a CUDA artefact holds, and what the process that makes it is told and answers."""

from typing import Literal

import msgspec

MANIFEST = "artefact.json"
WEIGHTS = "weights.npz"
Precision = Literal["fp32", "fp16"]


class Port(msgspec.Struct, frozen=True):
    """An input or output by name; -1 at the front of `shape` is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class CudaBucket(msgspec.Struct, frozen=True):
    """The library for calls of exactly `batch` rows.

    Its function `main` takes the inputs and then `weights`, arrays of `weights.npz`, in order. `flops` and `bytes` are
    of one call, `kernels` the launches of one call, `tensor_cores` those that use them.
    """

    batch: int
    library: str
    weights: tuple[str, ...]
    flops: int
    bytes: int
    kernels: int = 0
    tensor_cores: int = 0


class CudaManifest(msgspec.Struct, frozen=True):
    """`artefact.json`: a graph compiled for the GPU architecture `arch`."""

    arch: str
    precision: Precision
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    buckets: tuple[CudaBucket, ...]
    tvm: str
    format: int = 1


class Job(msgspec.Struct, frozen=True):
    """What the worker is asked for."""

    buckets: tuple[int, ...]
    precision: Precision
    arch: str


class Outcome(msgspec.Struct, frozen=True):
    """What the worker raised, by the name of its class in `bottega.errors`; empty where all went well."""

    error: str = ""
    what: str = ""
    next_step: str = ""
