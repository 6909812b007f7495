"""Processes of the benchmark: each model is prepared, and each batch of it measured, in a fresh one."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from peers.inference.task import Measured, Task

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS", "NPROC")
"""All 1: engines that can be told otherwise are told by `with_<backend>`. NPROC is XLA's."""


class TaskFailed(Exception):
    """The process ended badly, and how."""


def prepare(task: Task) -> None:
    """Write the model's files into a new folder. Raises TaskFailed."""
    Path(task.folder).mkdir()
    _run("prepare", task, Path(task.folder) / "prepared.json")


def measure(task: Task) -> list[Measured]:
    """Race the engines at one batch. Raises TaskFailed."""
    answer = Path(task.folder) / f"measured_{task.batches[0]}.json"
    _run("measure", task, answer)
    return msgspec.json.decode(answer.read_bytes(), type=list[Measured])


def environment(folder: str) -> dict[str, str]:
    """One thread for everything, and a cache that all models share and that goes with their folders."""
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        dict(os.environ)
        | dict.fromkeys(_THREADS, "1")
        | {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONSAFEPATH": "1",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder).parent / "inductor"),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
    )


def _run(what: str, task: Task, answer: Path) -> None:
    command = [sys.executable, "-m", "peers.inference.child", what, str(answer)]
    given = msgspec.json.encode(task)
    done = subprocess.run(command, input=given, capture_output=True, env=environment(task.folder), check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if "Error" in line] or lines or [""]
        raise TaskFailed(f"exit status {done.returncode}: {told[-1][:300]}")
