"""The race: engines take turns on the same files; an answer counts only if it is right."""

import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from peers.features.child import Ground, Verdict
from peers.features.measure import Cost, measure


class Result(msgspec.Struct, frozen=True):
    """An engine's cost, as medians over its runs, and what is wrong with it: how it failed, or a value that differs."""

    engine: str
    cpu_s: float
    wall_s: float
    peak_mb: float
    wrong: str


class TaskFailed(Exception):
    """The harness could not do its own part: write the events, or judge an answer."""


def race(ground: Ground, engines: Sequence[str], repeat: int, progress: Callable[[str], None]) -> list[Result]:
    """Let every engine answer `repeat` times, each time in a fresh process and another order."""
    progress(f"{ground.events:,} events and {ground.labels:,} labels: writing, and answering a sample by brute force")
    run_task("prepare", ground)
    runs: dict[str, list[tuple[Cost, str]]] = {engine: [] for engine in engines}
    due: int | None = None
    for turn in range(repeat):
        for engine in (*engines[turn % len(engines) :], *engines[: turn % len(engines)]):
            progress(f"{engine}, run {turn + 1} of {repeat}")
            cost = measure(engine, msgspec.json.encode(ground.job))
            verdict = Verdict(cost.failed, 0) if cost.failed else _judge(ground)
            wrong = verdict.wrong
            if not wrong:
                due = verdict.fingerprint if due is None else due
                wrong = "" if verdict.fingerprint == due else "values outside the sample differ from another engine's"
            runs[engine].append((cost, wrong))
            _clear(ground)
    return [_median(engine, runs[engine]) for engine in engines]


def run_task(task: str, ground: Ground) -> Cost:
    """Run a task of the harness itself; TaskFailed if it does not end well."""
    cost = measure(task, msgspec.json.encode(ground))
    if cost.failed:
        raise TaskFailed(f"{task}: {cost.failed}")
    return cost


def _judge(ground: Ground) -> Verdict:
    return msgspec.json.decode(run_task("judge", ground).output, type=Verdict)


def _clear(ground: Ground) -> None:
    """Take away what a run left."""
    for path in (Path(ground.job.answer), Path(ground.job.scratch)):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    Path(ground.job.scratch).mkdir()


def _median(engine: str, runs: Sequence[tuple[Cost, str]]) -> Result:
    wrong = next((wrong for _, wrong in runs if wrong), "")
    costs = [cost for cost, _ in runs]
    return Result(
        engine,
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.peak_mb for cost in costs),
        wrong,
    )
