"""Bottega's online side as rows: the cost of reads (reads.py) and of the updater (updates.py), each in its process."""

from collections.abc import Callable

import msgspec

from peers.features.child import Ground, Reads, Update
from peers.features.race import run_task

Row = dict[str, object]


def online(reading: Ground, updating: Ground, progress: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """The rows of both, and what is wrong with the values that were read.

    The keys are those of the other job. `online_read`: `labels` is the number of reads, and beside the keys stand
    `entities` and `tiles` (of each entity) a read, `cpu_us` a read and `named_cpu_us` a read with each of its values
    taken by name. `online_update`: `labels` is the number of labels that were read afterwards, and `events_per_cpu_s`
    stands beside the keys. `cpu_s` covers the reads or the updater alone, `wall_s` and `peak_mb` the whole process.
    """
    progress("reads of one zone, of a hundred, of a busy one")
    cost = run_task("reads", reading)
    reads = msgspec.json.decode(cost.output, type=Reads)
    rows = [
        {
            **_row("online_read", reads.events, read.reads, read.reads * read.cpu_us / 1e6),
            "wall_s": cost.wall_s,
            "peak_mb": cost.peak_mb,
            "entities": read.entities,
            "tiles": read.tiles,
            "cpu_us": round(read.cpu_us, 2),
            "named_cpu_us": round(read.named_cpu_us, 2),
        }
        for read in reads.reads
    ]
    progress(f"updater: {updating.events:,} events from the log into two views")
    run_task("prepare_updates", updating)
    cost = run_task("updates", updating)
    update = msgspec.json.decode(cost.output, type=Update)
    rows.append(
        {
            **_row("online_update", updating.events, update.labels, update.cpu_s),
            "wall_s": cost.wall_s,
            "peak_mb": cost.peak_mb,
            "events_per_cpu_s": round(updating.events / update.cpu_s),
        }
    )
    return rows, [wrong for wrong in (reads.wrong, update.wrong) if wrong]


def table(rows: list[Row]) -> str:
    """The rows for people."""
    lines = []
    for row in rows:
        if row["job"] == "online_read":
            what = f"20 features of {row['entities']} zones with {row['tiles']} tiles each"
            lines.append(f"{what:<56}{row['cpu_us']:>9} CPU us, {row['named_cpu_us']} with each value by name")
        else:
            lines.append(f"{'updater, two views':<56}{row['events_per_cpu_s']:>9,} events a CPU second")
    return "\n".join(lines)


def _row(job: str, events: int, labels: int, cpu_s: float) -> Row:
    return {"job": job, "engine": "bottega", "events": events, "labels": labels, "cpu_s": round(cpu_s, 3)}
