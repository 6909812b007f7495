"""What is told of a race: rows for machines, a table for people, a picture."""

from collections.abc import Sequence
from pathlib import Path

from peers.features.race import Result


def rows(job: str, events: int, labels: int, results: Sequence[Result]) -> list[dict[str, object]]:
    """One row for each engine whose answer was right."""
    return [
        {
            "job": job,
            "engine": result.engine,
            "events": events,
            "labels": labels,
            "cpu_s": round(result.cpu_s, 3),
            "wall_s": round(result.wall_s, 3),
            "peak_mb": round(result.peak_mb, 1),
        }
        for result in results
        if not result.wrong
    ]


def table(results: Sequence[Result], limit_mb: float) -> str:
    """One line for each engine, right or wrong."""
    lines = [f"{'engine':<14}{'CPU s':>10}{'wall s':>10}{'peak MB':>10}"]
    for result in results:
        remark = result.wrong and f"WRONG: {result.wrong}"
        if not remark and result.peak_mb > limit_mb:
            remark = f"above the limit of {limit_mb:,.0f} MB"
        figures = f"{result.cpu_s:>10.2f}{result.wall_s:>10.2f}{result.peak_mb:>10,.0f}"
        lines.append(f"{result.engine:<14}{figures}  {remark}".rstrip())
    return "\n".join(lines)


def plot(title: str, results: Sequence[Result], limit_mb: float, path: Path) -> None:
    """CPU seconds and peak memory side by side, of the engines whose answers were right."""
    from matplotlib.figure import Figure

    right = [result for result in results if not result.wrong]
    figure = Figure((9, 1.6 + 0.4 * len(right)), layout="constrained")
    cpu, memory = figure.subplots(1, 2, sharey=True)
    names = [result.engine for result in right]
    cpu.barh(names, [result.cpu_s for result in right])
    cpu.set_xlabel("CPU seconds")
    memory.barh(names, [result.peak_mb for result in right])
    memory.axvline(limit_mb, color="black", linestyle="--", label="limit")
    memory.set_xlabel("peak memory, MB")
    memory.legend()
    cpu.invert_yaxis()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
