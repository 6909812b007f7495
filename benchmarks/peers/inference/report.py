"""What is told of a race: rows for machines, tables for people, a picture, a file of results."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from peers.inference.task import MODELS, Measured

_PACKAGES = ("apache-tvm", "onnxruntime", "torch", "jax", "xgboost-cpu", "xgboost", "treelite", "scikit-learn", "numpy")


def times_us(one: Measured) -> tuple[float, ...]:
    """Microseconds a call in each round.

    On one thread the time on the CPU, which is the latency on a machine that does nothing else; on more threads, which
    wait for each other, the time on the wall.
    """
    return one.cpu_us if one.threads == 1 else one.wall_us


def median_us(one: Measured) -> float:
    """Median over the rounds."""
    return statistics.median(times_us(one))


def rows(measured: Sequence[Measured]) -> list[dict[str, object]]:
    """One row for each engine at each batch that was right."""
    return [
        {
            "model": one.model,
            "batch": one.batch,
            "backend": one.backend,
            "engine": one.engine,
            "threads": one.threads,
            "median_us": round(median_us(one), 2),
            "max_rel_error": float(f"{one.max_rel_error:.2e}"),
        }
        for one in measured
        if not one.wrong
    ]


def results(measured: Sequence[Measured], rounds: int, commit: str) -> dict[str, object]:
    """The rows with their spread, and where they were measured: for a file that a document can stand on."""
    spread = [
        {
            "cpu_us": [round(quartile, 2) for quartile in _quartiles(one.cpu_us)],
            "wall_us": [round(quartile, 2) for quartile in _quartiles(one.wall_us)],
        }
        for one in measured
        if not one.wrong
    ]
    return {
        "machine": f"{os.cpu_count()} cores of {_cpu()}; {platform.system()}, Python {platform.python_version()}",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": commit,
        "versions": {package: found for package in _PACKAGES if (found := _version(package))},
        "rounds": rounds,
        "rows": [row | quartiles for row, quartiles in zip(rows(measured), spread, strict=True)],
    }


def table(measured: Sequence[Measured]) -> str:
    """The engines of one model at one batch; "of bottega" is how many times as long as Bottega one takes."""
    (model,), (batch,) = {one.model for one in measured}, {one.batch for one in measured}
    ours = next((median_us(one) for one in measured if one.backend == "bottega" and not one.wrong), None)
    head = f"{f'{model}, batch {batch}':<26}{'engine':<24}{'threads':>7}{'us':>10}{'quartiles':>22}{'wall us':>11}"
    lines = [f"{head}{'error':>10}{'of bottega':>12}"]
    for one in measured:
        if one.wrong:
            lines.append(f"  {one.backend:<24}WRONG: {one.wrong}")
            continue
        low, middle, high = _quartiles(times_us(one))
        wall = statistics.median(one.wall_us)
        times = f"{middle:>10,.1f}{f'{low:,.1f} to {high:,.1f}':>22}{wall:>11,.1f}"
        ratio = f"{middle / ours:>11.2f}x" if ours else ""
        lines.append(f"  {one.backend:<24}{one.engine:<24}{one.threads:>7}{times}{one.max_rel_error:>10.0e}{ratio}")
    return "\n".join(lines)


def ratios(measured: Sequence[Measured]) -> str:
    """How many times as fast as its peers Bottega is, all on one thread."""
    lines = [
        f"{'model':<14}{'batch':>6}{'bottega us':>12}  {'engine':<12}{'best peer':<28}{'ratio':>7}{'onnxruntime':>13}"
    ]
    for model, batch in dict.fromkeys((one.model, one.batch) for one in measured):
        here = [one for one in measured if (one.model, one.batch, one.threads) == (model, batch, 1) and not one.wrong]
        times = {one.backend: median_us(one) for one in here}
        ours = times.pop("bottega", None)
        if ours is None or not times:
            continue
        best = min(times, key=lambda name: times[name])
        engine = next(one.engine for one in here if one.backend == "bottega")
        peer = f"{best} {times[best]:,.1f} us"
        runtime = f"{times['onnxruntime'] / ours:>12.2f}x" if "onnxruntime" in times else f"{'-':>13}"
        lines.append(f"{model:<14}{batch:>6}{ours:>12,.1f}  {engine:<12}{peer:<28}{times[best] / ours:>6.2f}x{runtime}")
    return "\n".join(lines)


def plot(measured: Sequence[Measured], path: Path) -> None:
    """A panel for each model: microseconds a row against the batch, one line for each backend on one thread."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    right = [one for one in measured if not one.wrong and one.threads == 1]
    models = [model for model in MODELS if any(one.model == model for one in right)]
    colours = {backend: f"C{i}" for i, backend in enumerate(dict.fromkeys(one.backend for one in right))}
    figure = Figure((4.2 * len(models), 4), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for model, panel in zip(models, panels, strict=True):
        for backend, colour in colours.items():
            line = sorted(
                (one.batch, median_us(one) / one.batch) for one in right if (one.model, one.backend) == (model, backend)
            )
            if line:
                width = 3 if backend == "bottega" else 1.3
                panel.loglog(*zip(*line, strict=True), marker="o", label=backend, linewidth=width, color=colour)
        panel.set_title(model)
        panel.set_xlabel("batch")
        batches = sorted({one.batch for one in right if one.model == model})
        panel.set_xticks(batches, map(str, batches))
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:,g}")
        panel.minorticks_off()
        panel.legend(fontsize="small")
    panels[0].set_ylabel("microseconds a row, one thread")
    figure.savefig(path, dpi=120)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
