"""What runs in a process of its own: preparing a model's files, and racing its engines at one batch.

python -m peers.inference.child prepare|measure ANSWER.json      (a Task as JSON on standard input)
"""

import importlib
import math
import sys
import warnings
from pathlib import Path
from types import ModuleType

import msgspec

from peers.inference.case import Case, Run, make_case
from peers.inference.race import Racer, race
from peers.inference.task import BACKENDS, TOLERANCE, Measured, Task


def main(what: str, answer: Path, task: Task) -> None:
    """Do the task, and write what was measured."""
    if what == "prepare":
        from peers.inference.prepare import prepare  # with the compiler, which is not loaded where its code is measured

        prepare(task)
    else:
        answer.write_bytes(msgspec.json.encode(measure(task)))


def measure(task: Task) -> list[Measured]:
    """Check every engine, race those that answer right, and check them again."""
    (batch,) = task.batches
    case = make_case(task.model, batch, task.seed, Path(task.folder))
    found = []
    for backend in task.backends:
        module = importlib.import_module(f"peers.inference.with_{backend}")
        for threads in BACKENDS[backend].threads:
            found.append((backend, threads, *_open(case, backend, module, threads)))
    race([racer for _, _, racer, _, wrong in found if racer and not wrong], case.pool, task.rounds)
    return [_measured(case, *one) for one in found]


def _open(case: Case, backend: str, module: ModuleType, threads: int) -> tuple[Racer | None, str, str]:
    """The engine ready to race, its name, and what is wrong with it."""
    engine = BACKENDS[backend].engine
    try:
        run = module.load(case, threads)
        if backend == "bottega":
            engine = module.engine(case)
        _, wrong = _judge(case, backend, run)
    except Exception as error:  # noqa: BLE001  whatever stops an engine is told; the others race
        return None, engine, f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Racer(run, threads), engine, wrong


def _judge(case: Case, backend: str, run: Run) -> tuple[float, str]:
    """The largest error of the answers to all of the pool, and what is wrong with them."""
    error = case.error(backend, [run(inputs) for inputs in case.pool])
    return error, "" if error <= TOLERANCE else f"relative error {error:.1e}, more than {TOLERANCE:.0e}"


def _measured(case: Case, backend: str, threads: int, racer: Racer | None, engine: str, wrong: str) -> Measured:
    error = 0.0
    if racer:
        error, now = _judge(case, backend, racer.run)
        wrong = wrong or now
    error = error if math.isfinite(error) else 0.0  # JSON has no infinity, and `wrong` says it
    times = (tuple(racer.wall_us), tuple(racer.cpu_us)) if racer else ((), ())
    return Measured(case.model, case.batch, backend, engine, threads, *times, error, wrong)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main(sys.argv[1], Path(sys.argv[2]), msgspec.json.decode(sys.stdin.buffer.read(), type=Task))
