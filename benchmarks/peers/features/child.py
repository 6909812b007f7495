"""What runs in a process of its own, so that its cost is its own: an engine's answer, the city, the judging.

python -m peers.features.child <task>        (the task's argument as JSON on standard input)
"""

import importlib
import os
import sys
from collections.abc import Callable

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


class Read(msgspec.Struct, frozen=True):
    """A kind of read: CPU microseconds for each, the median of several rounds; and the same with each value named."""

    name: str
    entities: int
    tiles: int
    reads: int
    cpu_us: float
    named_cpu_us: float


class Update(msgspec.Struct, frozen=True):
    """CPU seconds of the updater for a log, how many labels were read afterwards, and what is wrong with the values."""

    cpu_s: float
    labels: int
    wrong: str


class Reads(msgspec.Struct, frozen=True):
    """The costs of reads from a store of so many events, and what is wrong with the values."""

    events: int
    reads: tuple[Read, ...]
    wrong: str


def main(task: str, argument: bytes) -> None:
    """Run a task of the harness, or answer the job with an engine of that name."""
    if task in _TASKS:
        result = _TASKS[task](msgspec.json.decode(argument, type=Ground))
        sys.stdout.write(msgspec.json.encode(result).decode())
    else:
        _answer(task, msgspec.json.decode(argument, type=Job))


def _prepare(ground: Ground) -> None:
    from peers.features.city import write_city
    from peers.features.reference import write_reference

    write_city(ground.folder, ground.events, ground.labels, ground.late_share, ground.duplicates, ground.seed)
    write_reference(ground.job, ground.sample, ground.seed, ground.reference)


def _judge(ground: Ground) -> Verdict:
    from peers.features.reference import judge

    return Verdict(*judge(ground.job, ground.reference))


def _reads(ground: Ground) -> Reads:
    from peers.features import reads
    from peers.features.reference import write_reference

    events = reads.write_reads(ground.job, ground.seed)
    write_reference(ground.job, ground.sample, ground.seed, ground.reference)
    reads.answer(ground.job)
    return Reads(events, tuple(reads.read_costs(ground.job)), _judge(ground).wrong)


def _prepare_updates(ground: Ground) -> None:
    from peers.features.city import write_city
    from peers.features.reference import write_reference
    from peers.features.updates import write_log

    write_city(ground.folder, ground.events, ground.labels, ground.late_share, ground.duplicates, ground.seed)
    write_log(ground.job)
    write_reference(ground.job, ground.sample, ground.seed, ground.reference)


def _updates(ground: Ground) -> Update:
    from peers.features import updates

    cpu_s = updates.update(ground.job)
    labels = updates.answer(ground.job)
    return Update(cpu_s, labels, _judge(ground).wrong)


_TASKS: dict[str, Callable[[Ground], msgspec.Struct | None]] = {
    "prepare": _prepare,
    "judge": _judge,
    "reads": _reads,
    "prepare_updates": _prepare_updates,
    "updates": _updates,
}


def _answer(engine: str, job: Job) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    importlib.import_module(f"peers.features.with_{engine}").answer(job)
    if "pyspark" in sys.modules:
        from peers.features.with_spark import stop

        stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer.read())
