"""Measurement: engines take turns on the same batch, and only their own time on the CPU counts.

Both run on the calling thread alone, so its CPU time is their latency on a machine that has nothing else to do.
A busy machine still slows memory and caches, but both engines alike.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import thread_time_ns

import msgspec

from bottega.compile.manifest import Bucket, Engine

ROUND_NS = 2_000_000
ENOUGH_NS = 3_000_000_000
"""Of slow models fewer rounds are run, three at least: what takes long varies little."""

Run = Callable[[], object]
"""One call on a full batch."""


def choose(batch: int, candidates: Sequence[tuple[Bucket, Run]], reference: Run) -> Bucket:
    """The bucket of `batch` rows with the fastest of its candidates, or with ONNX Runtime where that is faster."""
    times = medians_us({"onnxruntime": reference, **{bucket.entry: run for bucket, run in candidates}})
    onnxruntime_us = times.pop("onnxruntime")
    if not candidates:
        return Bucket(batch, "onnxruntime", "", onnxruntime_us=round(onnxruntime_us, 2))
    best = min((bucket for bucket, _ in candidates), key=lambda bucket: times[bucket.entry])
    tvm_us = times[best.entry]
    engine: Engine = "tvm" if tvm_us <= onnxruntime_us else "onnxruntime"
    return msgspec.structs.replace(
        best,
        engine=engine,
        tvm_us=round(tvm_us, 2),
        onnxruntime_us=round(onnxruntime_us, 2),
        speedup=round(onnxruntime_us / tvm_us, 2),
    )


def medians_us(runs: Mapping[str, Run], rounds: int = 15) -> dict[str, float]:
    """Median time of one call of each, in microseconds, over rounds in which all take turns.

    In a round each runs for about two milliseconds, after one call that warms the cache again.
    """
    repeats, first = {name: _repeats(run) for name, run in runs.items()}, thread_time_ns()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        if done >= 3 and thread_time_ns() - first > ENOUGH_NS:
            break
        for name, run in runs.items():
            run()
            started = thread_time_ns()
            for _ in range(repeats[name]):
                run()
            times[name].append((thread_time_ns() - started) / repeats[name] / 1000)
    return {name: median(found) for name, found in times.items()}


def _repeats(run: Run) -> int:
    run()
    started = thread_time_ns()
    run()
    return max(1, min(1000, ROUND_NS // max(1, thread_time_ns() - started)))
