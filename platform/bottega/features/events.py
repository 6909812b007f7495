"""Bound events from several batches and sources: joined, without copies, and as tables to spill."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from bottega.features.binding import DUPLICATE, Events
from bottega.features.copies import first_arrivals
from bottega.features.definition import Definition


def without_copies(parts: Sequence[Events], refused: dict[str, int]) -> Events:
    """Several sources' events as one, each source's copies left out and counted."""
    found = []
    for events in parts:
        kept = first_arrivals(events)
        if not kept.all():
            count_refused(refused, {DUPLICATE: int((~kept).sum())})
            events = events.take(np.flatnonzero(kept))
        found.append(dataclasses.replace(events, id=()))
    return join_events(found)


def count_refused(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts of refused events by reason."""
    for reason, count in more.items():
        total[reason] = total.get(reason, 0) + count


def join_events(parts: Sequence[Events]) -> Events:
    """Events one after the other; all parts have the same columns."""
    if len(parts) == 1:
        return parts[0]

    def joined(columns: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
        return tuple(np.concatenate(column) for column in zip(*columns, strict=True))

    return Events(
        joined([part.keys for part in parts]),
        np.concatenate([part.tile for part in parts]),
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.available_us for part in parts]),
        joined([part.values for part in parts]),
        joined([part.valid for part in parts]),
        joined([part.id for part in parts]),
        np.concatenate([part.position for part in parts]),
        {},
    )


def to_table(events: Events, definition: Definition) -> pa.Table:
    """Events as a table; event times only where they are needed beyond their tiles."""
    timed = any(state.kind == "last" for state in definition.states)
    columns = {
        **{
            f"key_{i}": pa.array(key, pa.string() if key.dtype == object else None) for i, key in enumerate(events.keys)
        },
        "tile": events.tile,
        "available_us": events.available_us,
        **({"event_us": events.event_us} if timed else {}),
        **{f"value_{i}": values for i, values in enumerate(events.values)},
        **{f"valid_{i}": valid for i, valid in enumerate(events.valid)},
        **{f"id_{i}": part for i, part in enumerate(events.id)},
    }
    return pa.table(columns)


def from_table(table: pa.Table) -> Events:
    """The events of a table that `to_table` made."""

    def columns(prefix: str) -> tuple[np.ndarray, ...]:
        return tuple(table.column(name).to_numpy() for name in table.column_names if name.startswith(prefix))

    available_us = table.column("available_us").to_numpy()
    event_us = table.column("event_us").to_numpy() if "event_us" in table.column_names else available_us
    return Events(
        columns("key_"),
        table.column("tile").to_numpy(),
        event_us,
        available_us,
        columns("value_"),
        columns("valid_"),
        columns("id_"),
        np.arange(table.num_rows),
        {},
    )
