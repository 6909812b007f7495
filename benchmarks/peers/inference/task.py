"""What there is to measure: models, batches, backends; and what the harness and its processes tell each other."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

NETWORKS = ("deepeta", "two_tower", "cnn")
TREES = "trees_500x8"
MODELS = (*NETWORKS, TREES)
BATCHES = (1, 4, 16, 64, 256)
TOLERANCE = 1e-5
"""Largest relative error of an answer: all engines compute in float32."""
ARTEFACT, GRAPH = "artefact", "model.onnx"
KEY = b"a benchmark signs for itself"
_COMPILERS = ("g++", "clang++")


@dataclass(frozen=True)
class Backend:
    """A runtime: the package that it needs, what of it runs, the models that it can run, its numbers of threads."""

    package: str
    engine: str
    models: tuple[str, ...]
    threads: tuple[int, ...] = (1,)


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "bottega": Backend("tvm", "as the artefact's manifest says", MODELS),
        "onnxruntime": Backend("onnxruntime", "onnxruntime", MODELS, (1, 2)),
        "torch": Backend("torch", "eager", NETWORKS),
        "torch_compile": Backend("torch", "inductor", NETWORKS),
        "jax": Backend("jax", "xla", NETWORKS),
        "xgboost": Backend("xgboost", "inplace_predict", (TREES,)),
        "treelite": Backend("treelite", "gtil", (TREES,)),
        "sklearn": Backend("sklearn", "hist_gradient_boosting", (TREES,)),
    }
)


class Task(msgspec.Struct, frozen=True):
    """Work for a process of its own, whose files lie in `folder`: prepare a model, or measure it at one batch."""

    model: str
    batches: tuple[int, ...]
    backends: tuple[str, ...]
    rounds: int
    seed: int
    folder: str


class Measured(msgspec.Struct, frozen=True):
    """A backend at one batch: microseconds a call in each round, and the largest error of all its answers.

    `wrong` says why it must not have a row: how it failed, or that an answer is beyond the tolerance; "" if right. An
    error without a bound is 0 and wrong.
    """

    model: str
    batch: int
    backend: str
    engine: str
    threads: int
    wall_us: tuple[float, ...]
    cpu_us: tuple[float, ...]
    max_rel_error: float
    wrong: str


def missing(backend: str) -> str:
    """Why a backend cannot run here; "" where it can."""
    package = BACKENDS[backend].package
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: see `make engines`"
    if (
        backend == "torch_compile"
        and not shutil.which(os.environ.get("CXX", ""))
        and not any(map(shutil.which, _COMPILERS))
    ):
        return f"it needs a C++ compiler, and there is none of {', '.join(_COMPILERS)}"
    return ""
