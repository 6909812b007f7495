"""Search: MetaSchedule draws ways to run one kernel, learns which ones are fast, and this process measures them.

After Shao et al., "Tensor Program Optimization with Probabilistic Programs", 2022. TVM's own builder and runner start
processes, 15 seconds a round; these two compile and time a candidate where they are, in a tenth of a second. That is
safe because a schedule never changes what a kernel reads and writes. Kernels stay on one thread.
"""

import contextlib
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from time import thread_time_ns
from types import ModuleType

import numpy as np
import tvm
from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerInput, RunnerResult
from tvm.s_tir.meta_schedule.schedule_rule import ScheduleRule

from bottega.compile import elementary, library

Native = Callable[..., object]
ROUND = 16
"""Candidates measured before the cost model learns again."""
_POPULATION = 256
"""Candidates that the cost model compares before a round is measured."""
_REPEATS = 3
_REPEAT_NS = 2_000_000


def search(
    kernel: tirx.PrimFunc,
    target: tvm.target.Target,
    database: ms.Database,
    trials: int,
    seed: int,
    measured: Callable[[int], None],
) -> None:
    """Measure up to `trials` candidates for the kernel, and write each into the database.

    `measured` is told how many there are each time that a round has been measured.
    """
    with _without_instructions():
        task = _task(kernel, target, seed)
    libraries: dict[str, Native] = {}
    with tempfile.TemporaryDirectory() as folder:
        ms.tune.tune_tasks(
            tasks=[task],
            task_weights=[1.0],
            work_dir=folder,
            max_trials_global=trials,
            num_trials_per_iter=min(ROUND, trials),
            builder=_Builder(libraries),
            runner=_Runner(libraries, measured),
            database=database,
            measure_callbacks=[ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()],
            cost_model=ms.CostModel.create("xgb", num_tuning_cores=1, tree_method="hist"),
            task_scheduler="round-robin",
        )


def _task(kernel: tirx.PrimFunc, target: tvm.target.Target, seed: int) -> ms.TuneContext:
    quiet = logging.getLogger(__name__ + ".quiet")
    quiet.setLevel(logging.CRITICAL)
    return ms.TuneContext(
        mod=tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")}),
        target=target,
        space_generator=ms.space_generator.PostOrderApply(
            sch_rules=_rules(),
            postprocs=ms.postproc.Postproc.create("llvm"),
            mutator_probs=ms.mutator.Mutator.create("llvm"),
        ),
        search_strategy=ms.search_strategy.EvolutionarySearch(population_size=_POPULATION, init_min_unmeasured=ROUND),
        task_name="main",
        rand_state=ms.utils.fork_seed(seed, n=1)[0],
        num_threads=1,
        logger=quiet,
    )


@contextlib.contextmanager
def _without_instructions() -> Iterator[None]:
    """Keep TVM from reading its instructions for every kind of processor: a minute of work that no rule here needs."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


@derived_object
class _Builder(PyBuilder):
    """Compiles candidates; a candidate is known by a number, not by a file."""

    def __init__(self, libraries: dict[str, Native]) -> None:
        super().__init__()
        self._libraries = libraries

    def build(self, build_inputs: list[BuilderInput]) -> list[BuilderResult]:
        return [self._build(given) for given in build_inputs]

    def _build(self, given: BuilderInput) -> BuilderResult:
        try:
            function = compiled(given.mod["main"], given.target)
        except Exception as error:  # noqa: BLE001  whatever LLVM or TVM say about a candidate, it is only not chosen
            return BuilderResult(None, str(error))
        name = str(len(self._libraries))
        self._libraries[name] = function
        return BuilderResult(name, None)


@derived_object
class _Runner(PyRunner):
    """Times candidates, one after the other."""

    def __init__(self, libraries: dict[str, Native], measured: Callable[[int], None]) -> None:
        super().__init__()
        self._libraries, self._measured, self._count = libraries, measured, 0

    def run(self, runner_inputs: list[RunnerInput]) -> list[PyRunnerFuture]:
        futures = [_Done(self._run(given)) for given in runner_inputs]
        self._count += len(futures)
        self._measured(self._count)
        return futures

    def _run(self, given: RunnerInput) -> RunnerResult:
        kinds = [info.as_json()[1:] for info in given.args_info]
        arguments = [library.tensor(array_of(dtype, shape, i)) for i, (dtype, shape) in enumerate(kinds)]
        seconds = run_time_s(self._libraries[str(given.artifact_path)], arguments)
        return RunnerResult(seconds, None)


@derived_object
class _Done(PyRunnerFuture):
    def __init__(self, found: RunnerResult) -> None:
        super().__init__()
        self._found = found

    def done(self) -> bool:
        return True

    def result(self) -> RunnerResult:
        return self._found


def compiled(kernel: tirx.PrimFunc, target: tvm.target.Target) -> Native:
    """The kernel as a function of this process, exp, tanh and erf in arithmetic."""
    module = tvm.IRModule({"main": elementary.expand(kernel.with_attr("global_symbol", "main"))})
    return tvm.compile(module, target=target)["main"]


def _rules() -> list[ScheduleRule]:
    """MetaSchedule's rules for a CPU, without threads."""
    rules = ScheduleRule.create("llvm")
    parallel = ms.schedule_rule.ParallelizeVectorizeUnroll(
        max_jobs_per_core=-1, max_vectorize_extent=64, unroll_max_steps=[0, 16, 64, 512], unroll_explicit=True
    )
    return [parallel if isinstance(rule, ms.schedule_rule.ParallelizeVectorizeUnroll) else rule for rule in rules]


def run_time_s(function: Native, arguments: list[object]) -> list[float]:
    """Seconds of the calling thread's CPU time for one call, some times."""
    function(*arguments)
    started = thread_time_ns()
    function(*arguments)
    calls = max(1, min(1000, _REPEAT_NS // max(1, thread_time_ns() - started)))
    seconds = []
    for _ in range(_REPEATS):
        started = thread_time_ns()
        for _ in range(calls):
            function(*arguments)
        seconds.append((thread_time_ns() - started) / calls / 1e9)
    return seconds


def array_of(dtype: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """A parameter of a kernel: drawn from 0 to 1; whole numbers are 0, which is in the range of all they index."""
    made = library.aligned(tuple(map(int, shape)), np.dtype(dtype))
    if made.dtype.kind == "f":
        made[...] = np.random.default_rng(seed).random(made.shape)
    return made
