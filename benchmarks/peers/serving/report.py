"""What is told of a race: rows for machines, tables and targets for people, a picture, a file of results."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.serving.environments import PACKAGES
from peers.serving.race import Racer, Turn

OURS, LIMIT = "bottega", "constant"
_NO_PEERS = (OURS, LIMIT)


@dataclass(frozen=True)
class Ratio:
    """How many times as good ours is: `what`, the median of the rounds' ratios, and the least that is wanted."""

    what: str
    times: float
    wanted: float


def rows(racers: Sequence[Racer]) -> list[dict[str, object]]:
    """One row for each server, case and number of connections: medians of the turns."""
    return [
        {
            "server": racer.name,
            "case": case,
            "connections": connections,
            "rps": round(_median(turns, lambda turn: turn.rps), 1),
            "p50_ms": round(_median(turns, lambda turn: turn.driven.p50_ms), 3),
            "p99_ms": round(_median(turns, lambda turn: turn.driven.p99_ms), 3),
            "cpu_us": round(_median(turns, lambda turn: turn.cpu_us), 1),
            "rss_mb": round(racer.rss_mb, 1),
            "start_s": round(racer.start_s, 2),
        }
        for racer in racers
        if not racer.wrong
        for (case, connections), turns in sorted(racer.turns.items())
    ]


def results(racers: Sequence[Racer], rounds: int, seconds: int, commit: str) -> dict[str, object]:
    """The rows with the turns' least and most, and where they were measured: for a file that a document stands on."""
    spread = [
        {"rps_turns": [round(turn.rps, 1) for turn in turns]}
        for racer in racers
        if not racer.wrong
        for _, turns in sorted(racer.turns.items())
    ]
    return {
        "machine": f"{os.cpu_count()} cores of {_cpu()}; {platform.system()}, Python {platform.python_version()}",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": commit,
        "packages": {racer.name: PACKAGES[racer.name] for racer in racers if racer.name in PACKAGES},
        "rounds": rounds,
        "seconds": seconds,
        "rows": [row | turns for row, turns in zip(rows(racers), spread, strict=True)],
        "ratios": [
            {"what": ratio.what, "times": round(ratio.times, 2), "wanted": ratio.wanted} for ratio in ratios(racers)
        ],
    }


def table(racers: Sequence[Racer]) -> str:
    """For each case the servers, and how many times as many requests a second ours answers."""
    right = [racer for racer in racers if not racer.wrong]
    lines = []
    for case, connections in sorted({key for racer in right for key in racer.turns}):
        lines.append(
            f"{f'{case}, {connections} connections':<26}{'requests/s':>11}{'least to most':>20}"
            f"{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'RSS MB':>8}{'start s':>9}{'ours':>8}"
        )
        for racer in right:
            turns = racer.turns.get((case, connections))
            if not turns:
                continue
            rps = [turn.rps for turn in turns]
            times = _times(right, OURS, racer.name, (case, connections))
            lines.append(
                f"  {racer.name:<24}{statistics.median(rps):>11,.0f}{f'{min(rps):,.0f} to {max(rps):,.0f}':>20}"
                f"{_median(turns, lambda turn: turn.driven.p50_ms):>9.2f}"
                f"{_median(turns, lambda turn: turn.driven.p99_ms):>9.2f}"
                f"{_median(turns, lambda turn: turn.cpu_us):>9.1f}{racer.rss_mb:>8.0f}{racer.start_s:>9.1f}"
                + (f"{times:>7.2f}x" if times else "")
            )
        lines.append("")
    lines += [f"{racer.name}: WRONG: {racer.wrong}" for racer in racers if racer.wrong]
    return "\n".join(lines)


def targets(racers: Sequence[Racer]) -> str:
    """The ratios that are wanted, and what was found."""
    lines = [f"{'ours':<58}{'times':>9}{'wanted':>9}"]
    for ratio in ratios(racers):
        verdict = "" if ratio.times >= ratio.wanted else "  MISSED"
        lines.append(f"{ratio.what:<58}{ratio.times:>8.2f}x{ratio.wanted:>8.2f}x{verdict}")
    return "\n".join(lines)


def ratios(racers: Sequence[Racer]) -> list[Ratio]:
    """Those that can be told from the servers that ran."""
    right = [racer for racer in racers if not racer.wrong]
    found = []

    def compare(what: str, other: str | None, case: str, connections: int, wanted: float) -> None:
        times = _times(right, OURS, other, (case, connections)) if other else None
        if times:
            found.append(Ratio(f"{what} ({other}), {connections} connections", times, wanted))

    for connections, wanted in ((64, 15.0), (1, 6.0)):
        best = _best_peer(right, ("json_1", connections))
        compare("one row as JSON / best peer", best, "json_1", connections, wanted)
    compare("32 rows as JSON / best peer", _best_peer(right, ("json_32", 64)), "json_32", 64, 5.0)
    compare("one row by gRPC / MLServer", "mlserver", "grpc_1", 64, 5.0)
    compare("one row as JSON / constant answer", LIMIT, "json_1", 64, 0.55)
    compare("add/sub / Triton", "triton", "addsub", 1, 1.3)
    compare("add/sub / Triton", "triton", "addsub", 64, 2.0)
    ours = next((racer for racer in right if racer.name == OURS), None)
    if ours:
        binary, text = ours.turns.get(("binary_32", 64)), ours.turns.get(("json_32", 64))
        if binary and text:
            found.append(Ratio("32 rows as binary tensors / as JSON, 64 connections", _ratio(binary, text), 1.3))
        mlserver = next((racer for racer in right if racer.name == "mlserver"), None)
        key = ("json_1", 64)
        if mlserver and key in mlserver.turns and key in ours.turns:
            times = statistics.median(
                theirs.driven.p99_ms / turn.driven.p99_ms
                for theirs, turn in zip(mlserver.turns[key], ours.turns[key], strict=True)
            )
            found.append(Ratio("MLServer's p99 / p99, one row as JSON, 64 connections", times, 20.0))
    return found


def plot(racers: Sequence[Racer], path: Path) -> None:
    """A panel for each case: requests a second against connections, one line for each server."""
    from matplotlib.figure import Figure

    right = [racer for racer in racers if not racer.wrong]
    cases = sorted({case for racer in right for case, _ in racer.turns})
    figure = Figure((4.4 * len(cases), 4), layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False)[0]
    for case, panel in zip(cases, panels, strict=True):
        for i, racer in enumerate(right):
            line = sorted(
                (connections, _median(turns, lambda turn: turn.rps))
                for (name, connections), turns in racer.turns.items()
                if name == case
            )
            if line:
                width = 3 if racer.name == OURS else 1.3
                panel.loglog(*zip(*line, strict=True), marker="o", label=racer.name, linewidth=width, color=f"C{i}")
                panel.set_xticks(*zip(*((count, str(count)) for count, _ in line), strict=True))
        panel.minorticks_off()
        panel.set_title(case)
        panel.set_xlabel("connections")
        panel.legend(fontsize="small")
    panels[0].set_ylabel("requests a second")
    figure.savefig(path, dpi=120)


def _best_peer(racers: Sequence[Racer], key: tuple[str, int]) -> str | None:
    peers = {
        r.name: _median(r.turns[key], lambda t: t.rps) for r in racers if r.name not in _NO_PEERS and key in r.turns
    }
    return max(peers, key=lambda name: peers[name]) if peers else None


def _times(racers: Sequence[Racer], name: str, other: str, key: tuple[str, int]) -> float | None:
    turns = {racer.name: racer.turns[key] for racer in racers if key in racer.turns}
    return _ratio(turns[name], turns[other]) if name in turns and other in turns else None


def _ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> float:
    """Of requests a second: the median over the rounds, in each of which both had a turn."""
    return statistics.median(turn.rps / other.rps for turn, other in zip(turns, others, strict=True))


def _median(turns: Sequence[Turn], of: Callable[[Turn], float]) -> float:
    return statistics.median(map(of, turns))


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
