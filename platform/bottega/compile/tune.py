"""Tuning: the heaviest kernels of a network are searched for a faster schedule, which is kept where it is one.

The rules of `schedule` need no search and are close to the best for most kernels. A tuner takes their place: it gives
the few kernels with the most arithmetic to MetaSchedule, and compares the best candidate with the rules' kernel, kernel
for kernel, in turns. What was found stays in a database for each kind of machine, so a kernel is searched once.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.analysis import estimate_tir_flops
from tvm_ffi import structural

from bottega.compile import elementary, library
from bottega.compile.loops import axes, blocks
from bottega.compile.measure import medians_us
from bottega.compile.native import llvm_target
from bottega.compile.packed import is_packed
from bottega.compile.parity import relative_error
from bottega.compile.schedule import SCHEDULED, registers, schedule, schedule_kernel
from bottega.compile.search import array_of, compiled, search
from bottega.compile.target import VNNI, Target
from bottega.errors import InvalidInput
from bottega.files import disk_errors, write_json
from bottega.progress import Progress, silent

TASK = "Tuning"
HEAVIEST = 3
"""Kernels of each module that are searched: most of the arithmetic is in them."""
GAIN = 0.03
"""A tuned kernel must be faster by this share, or the rules' kernel stays."""
TOLERANCE = 1e-4
_TRIALS = "trials.json"


@dataclass(frozen=True)
class TunedKernel:
    """What came of one kernel: the times of both, and whether the tuned one is kept. `found` counts new candidates."""

    kernel: str
    flops: float
    trials: int
    found: int
    rules_us: float
    tuned_us: float
    kept: bool

    def __str__(self) -> str:
        verdict = "kept" if self.kept else "the rules' kernel stays"
        return f"{self.kernel}: {self.rules_us:.1f} us by rules, {self.tuned_us:.1f} us tuned, {verdict}"


@dataclass
class Tuner:
    """A scheduler like `schedule`, with `trials` candidates for each of the heaviest kernels.

    `folder` holds the databases, one for each kind of target; `seed` decides what is drawn, but not what a clock says.
    `kernels` fills with what came of each.
    """

    folder: Path
    trials: int
    seed: int = 0
    progress: Progress = silent
    kernels: list[TunedKernel] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InvalidInput(f"{self.trials} trials are no search.", next_step="Give at least 1; 64 are usual.")

    def __call__(self, module: tvm.IRModule, target: Target) -> tvm.IRModule:
        """The module scheduled, tuned where that is faster."""
        heavy = heaviest(module)
        functions = dict(schedule(module, target).functions_items())
        with disk_errors(self.folder):
            store = _Store(self.folder / _machine(target), target)
            for number, names in enumerate(heavy):
                tuned = self._tune(store, names[0], module[names[0]], number, len(heavy))
                if tuned is not None:
                    functions.update((module.get_global_var(name), elementary.expand(tuned)) for name in names)
        return tvm.IRModule(functions)

    def notes(self) -> list[str]:
        """Whether it paid, in a sentence, and each kernel."""
        if not self.kernels:
            return ["Tuning: no kernel is worth a search."]
        kept = [kernel for kernel in self.kernels if kernel.kept]
        before = sum(kernel.rules_us for kernel in self.kernels)
        saved = sum(kernel.rules_us - kernel.tuned_us for kernel in kept)
        paid = f"saves {saved:.1f} of {before:.1f} us" if kept else "does not pay"
        searched = sum(kernel.found for kernel in self.kernels)
        summary = f"Tuning {paid}: {len(kept)} of {len(self.kernels)} kernels are faster, {searched} new candidates."
        return [summary, *map(str, self.kernels)]

    def _tune(self, store: "_Store", name: str, kernel: tirx.PrimFunc, number: int, of: int) -> tirx.PrimFunc | None:
        """The tuned kernel, where it answers alike and is faster."""

        def measured(count: int) -> None:
            self.progress(TASK, number * self.trials + min(count, self.trials), of * self.trials)

        found = store.search(kernel, self.trials, self.seed, measured)
        measured(self.trials)
        rules = schedule_kernel(kernel, registers(store.target))
        best = store.best(kernel)
        rules_us, tuned_us, error = _compare(rules, best or rules, store.llvm)
        kept = best is not None and error <= TOLERANCE and tuned_us <= rules_us * (1 - GAIN)
        self.kernels.append(
            TunedKernel(name, _flops(kernel), self.trials, found, round(rules_us, 2), round(tuned_us, 2), kept)
        )
        return best if kept else None


class _Store:
    """The database of one kind of machine, and how many candidates each kernel was given."""

    def __init__(self, folder: Path, target: Target) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.llvm = tvm.target.Target({**llvm_target(target).export(), "num-cores": 1})
        self._path = folder / _TRIALS
        self._trials: dict[str, int] = msgspec.json.decode(self._path.read_bytes()) if self._path.exists() else {}
        self._database = ms.database.JSONDatabase(
            str(folder / "workloads.json"), str(folder / "records.json"), module_equality="structural"
        )

    def search(self, kernel: tirx.PrimFunc, trials: int, seed: int, measured: Callable[[int], None]) -> int:
        """Search for what is not known yet; the number of new candidates."""
        module = _module(kernel)
        key = f"{structural.structural_hash(module):x}"
        missing = trials - self._trials.get(key, 0)
        if missing <= 0 and self._database.has_workload(module):
            return 0
        before = len(self._database)
        search(kernel, self.llvm, self._database, missing, seed + self._trials.get(key, 0), measured)
        self._trials[key] = trials
        write_json(self._path, self._trials)
        return len(self._database) - before

    def best(self, kernel: tirx.PrimFunc) -> tirx.PrimFunc | None:
        """The fastest candidate, None where all failed."""
        found = self._database.query_schedule(_module(kernel), self.llvm, "main")
        return None if found is None else found.mod["main"]


def heaviest(module: tvm.IRModule) -> list[tuple[str, ...]]:
    """The kernels with the most arithmetic, heaviest first; the names of those that are equal are together.

    Kernels that were written loop by loop or run by an instruction that a search would not find are left out.
    """
    names: dict[int, list[str]] = {}
    flops: dict[int, float] = {}
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and _is_searched(function):
            key = structural.structural_hash(function)
            names.setdefault(key, []).append(name.name_hint)
            flops[key] = flops.get(key, 0.0) + _flops(function)
    order = sorted(names, key=lambda key: (-flops[key], names[key]))
    return [tuple(names[key]) for key in order[:HEAVIEST]]


def _is_searched(kernel: tirx.PrimFunc) -> bool:
    """Whether it sums something up, over lengths that are known."""
    if kernel.attrs and SCHEDULED in kernel.attrs:
        return False
    if any(not isinstance(size, tirx.IntImm) for parameter in kernel.params for size in parameter.shape):
        return False
    sch = Schedule(kernel)
    found = blocks(sch)
    return any(axes(sch, block).reductions for block in found) and not any(is_packed(sch, block) for block in found)


def _flops(kernel: tirx.PrimFunc) -> float:
    return float(estimate_tir_flops(_module(kernel)))


def _module(kernel: tirx.PrimFunc) -> tvm.IRModule:
    """The kernel as MetaSchedule knows it."""
    return tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})


def _machine(target: Target) -> str:
    """Folder name of a kind of target; another version of TVM has another database."""
    extra = "-vnni" if VNNI in target.features else ""
    return f"{target.system}-{target.architecture}-{target.level}{extra}-tvm-{tvm.__version__}"


def _compare(rules: tirx.PrimFunc, best: tirx.PrimFunc, target: tvm.target.Target) -> tuple[float, float, float]:
    """Median times of both in microseconds, in turns, and the largest relative difference of what they write."""
    runs, arrays = {}, {}
    for name, kernel in (("rules", rules), ("tuned", best)):
        arrays[name] = [array_of(str(p.dtype), p.shape, seed) for seed, p in enumerate(kernel.params)]
        runs[name] = functools.partial(compiled(kernel, target), *map(library.tensor, arrays[name]))
    times = medians_us(runs)
    error = max(relative_error(*pair) for pair in zip(arrays["tuned"], arrays["rules"], strict=True))
    return times["rules"], times["tuned"], error
