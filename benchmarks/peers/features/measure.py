"""What a process costs: CPU seconds, wall seconds and memory, of itself and of the processes it starts."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from peers.features.job import THREADS

_INTERVAL_S = 0.05
_SHARE = 0.8
"""Of the machine's free memory: a process that takes more is ended, before the machine ends something else."""
_THREADS = (
    "OMP_NUM_THREADS",  # also Arrow's
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


class Cost(msgspec.Struct, frozen=True):
    """What one run cost.

    `cpu_s` is user and system time of the process and of those it waited for. `peak_mb` (10**6 bytes) is the larger of
    two: the operating system's own record of the largest single process, which misses no moment, and the largest sum
    over the process and its descendants, looked at twenty times a second. In the sum, pages that two processes share
    count twice, and a descendant counts from the second look on: a process that was just forked still shares all of
    its parent's memory. Both are resident memory, so pages of mapped files count. `failed` says how it ended, "" if
    well.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    failed: str
    output: bytes


def measure(task: str, argument: bytes) -> Cost:
    """Run `peers.features.child` on a task in a fresh process, and see it through."""
    environment = dict(os.environ) | dict.fromkeys(_THREADS, str(THREADS))
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
    spare = psutil.virtual_memory().available * _SHARE
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(argument)
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "peers.features.child", task],
            stdin=given,
            stdout=out,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            peak, ended = _watch(process, spare)
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        failed = ended or _failure(process.returncode, errors.read().decode(errors="replace"))
        largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        cpu_s = usage.ru_utime + usage.ru_stime
        return Cost(round(cpu_s, 3), round(wall_s, 3), round(max(peak, largest) / 1e6, 1), failed, out.read())


def _watch(process: subprocess.Popen, spare: float) -> tuple[int, str]:
    """The largest sum of resident memory until the process ends, and why it was ended."""
    peak, ended = 0, ""
    root = psutil.Process(process.pid)
    seen = {process.pid}
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        sizes = _resident(root)
        total = sum(size for pid, size in sizes.items() if pid in seen)
        seen = {process.pid, *sizes}
        peak = max(peak, total)
        if total > spare and not ended:
            ended = f"ended at {total / 1e9:.1f} GB, before the machine ran out of memory"
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(_INTERVAL_S)
    return peak, ended


def _resident(root: psutil.Process) -> dict[int, int]:
    """Resident bytes of a process and its descendants by process id, of those that have not ended meanwhile."""
    sizes = {}
    with contextlib.suppress(psutil.Error):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                sizes[process.pid] = process.memory_info().rss
    return sizes


def _failure(code: int, errors: str) -> str:
    if code == 0:
        return ""
    if code == -signal.SIGKILL:
        return "killed: out of memory?"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line or "error" in line]
    return (told or lines or [f"exit status {code}"])[-1][:200]
