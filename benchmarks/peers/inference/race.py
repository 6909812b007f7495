"""The race: engines take turns on the same batches, so that a busy moment of the machine hits all of them."""

import gc
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from peers.inference.case import Inputs, Run

BLOCK_NS = 5_000_000
"""CPU time of a turn, about; or one call. Short, so that all engines see the same moments of a busy machine."""
_MOST_CALLS = 1000
_PAUSE_S = 0.005
_SPINNING = 0.1
"""Share of a pause on the CPU from which a thread still spins."""
_MOST_PAUSES = 100


@dataclass
class Racer:
    """An engine that is ready, and microseconds a call of each of its turns."""

    run: Run
    threads: int
    calls: int = 0
    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def race(racers: Sequence[Racer], pool: Sequence[Inputs], rounds: int) -> None:
    """Let each take one turn a round, in an order that moves on by one each round."""
    gc.collect()
    gc.disable()
    for racer in racers:
        racer.calls = _calls(racer, pool)
    for turn in range(rounds):
        first = turn % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            _take_turn(racer, pool)
    gc.enable()


def _take_turn(racer: Racer, pool: Sequence[Inputs]) -> None:
    """Calls that warm caches, then those that count: wall time, and CPU time of all threads of the process."""
    inputs, run = itertools.cycle(pool), racer.run
    for _ in range(1 + racer.calls // 4):
        run(next(inputs))
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(racer.calls):
        run(next(inputs))
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    racer.wall_us.append(wall / racer.calls / 1000)
    racer.cpu_us.append(cpu / racer.calls / 1000)
    if racer.threads > 1:
        _settle()


def _settle() -> None:
    """Wait until threads that have nothing to do no longer spin: their time is not the next engine's."""
    for _ in range(_MOST_PAUSES):
        began = time.process_time()
        time.sleep(_PAUSE_S)
        if time.process_time() - began < _SPINNING * _PAUSE_S:
            return


def _calls(racer: Racer, pool: Sequence[Inputs]) -> int:
    started, calls = time.process_time_ns(), 0
    while calls < _MOST_CALLS and time.process_time_ns() - started < BLOCK_NS:
        racer.run(pool[calls % len(pool)])
        calls += 1
    return calls
