"""Measurement: engines take turns on the same batch, so that a busy machine slows them alike."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter_ns

ROUND_NS = 2_000_000


def medians_us(engines: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Median time of one call of each engine, over rounds in which all take turns.

    In a round each engine runs for about two milliseconds, after one call that warms the cache again.
    """
    repeats = {name: _repeats(run) for name, run in engines.items()}
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, run in engines.items():
            run()
            started = perf_counter_ns()
            for _ in range(repeats[name]):
                run()
            times[name].append((perf_counter_ns() - started) / repeats[name] / 1000)
    return {name: median(found) for name, found in times.items()}


def _repeats(run: Callable[[], object]) -> int:
    run()
    started = perf_counter_ns()
    run()
    return max(1, min(1000, ROUND_NS // max(1, perf_counter_ns() - started)))
