"""What runs in a process of its own, so that its cost is its own: an engine's answer, the city, the judging.

python -m peers.features.child <task>        (the task's argument as JSON on standard input)
"""

import importlib
import os
import sys

import msgspec

from peers.features.job import THREADS, Job


class Ground(msgspec.Struct, frozen=True):
    """What the engines are given, and how it is drawn: see write_city and write_reference."""

    job: Job
    events: int
    labels: int
    late_share: float
    duplicates: float
    seed: int
    folder: str
    reference: str
    sample: int = 500


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong with an answer ("" if nothing), and the fingerprint of all its values."""

    wrong: str
    fingerprint: int


def main(task: str, argument: bytes) -> None:
    """Prepare the ground, judge an answer, or answer the job with an engine."""
    if task == "prepare":
        _prepare(msgspec.json.decode(argument, type=Ground))
    elif task == "judge":
        from peers.features.reference import judge

        ground = msgspec.json.decode(argument, type=Ground)
        sys.stdout.write(msgspec.json.encode(Verdict(*judge(ground.job, ground.reference))).decode())
    else:
        _answer(task, msgspec.json.decode(argument, type=Job))


def _prepare(ground: Ground) -> None:
    from peers.features.city import write_city
    from peers.features.reference import write_reference

    write_city(ground.folder, ground.events, ground.labels, ground.late_share, ground.duplicates, ground.seed)
    write_reference(ground.job, ground.sample, ground.seed, ground.reference)


def _answer(engine: str, job: Job) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    importlib.import_module(f"peers.features.with_{engine}").answer(job)
    if "pyspark" in sys.modules:
        from peers.features.with_spark import stop

        stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer.read())
