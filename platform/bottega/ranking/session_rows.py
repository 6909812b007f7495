"""Sessions as arrays: what a ranker of restaurants learns from, and what it is asked."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources

NOBODY = -1
"""Stands for a restaurant that there is not: before a session's first event, or where its end was not logged."""


@dataclass(frozen=True)
class SessionRows:
    """Sessions by start; each one's last events, oldest first, from the left.

    A session's `length` says how many of its columns are filled; `first` is the session's very first event, which may
    have dropped out of them.
    """

    session_id: np.ndarray  # (sessions,) int64
    started_us: np.ndarray  # (sessions,) int64
    items: np.ndarray  # (sessions, longest) int64, NOBODY beyond the length
    actions: np.ndarray  # (sessions, longest) int64, NOBODY beyond the length
    length: np.ndarray  # (sessions,) int64
    first: np.ndarray  # (sessions, 2) int64: restaurant and action
    end: np.ndarray  # (sessions,) int64: the restaurant chosen, NOBODY where it is not known

    def __len__(self) -> int:
        return len(self.length)

    def where(self, rows: np.ndarray) -> "SessionRows":
        """The sessions at these places, or under this mask."""
        return SessionRows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def following(self) -> np.ndarray:
        """What came after each event: the next event's restaurant, after the last one the end: (sessions, longest)."""
        after = np.full_like(self.items, NOBODY)
        after[:, :-1] = self.items[:, 1:]
        after[np.arange(len(self)), self.length - 1] = self.end
        return after

    def newest(self, events: int) -> tuple[np.ndarray, np.ndarray]:
        """The last `events` restaurants and actions, the newest first, NOBODY where there were fewer."""
        back = self.length[:, None] - 1 - np.arange(events)  # (sessions, events)
        rows, inside = np.arange(len(self))[:, None], back >= 0
        place = np.maximum(back, 0)
        return np.where(inside, self.items[rows, place], NOBODY), np.where(inside, self.actions[rows, place], NOBODY)


def session_rows(
    sources: Sources, longest: int, since_us: int | None = None, until_us: int | None = None
) -> SessionRows:
    """The sessions that started in [since_us, until_us) with their last `longest` events."""
    sessions, events = sources["sessions"], sources["events"]
    started = sessions["started_at"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    inside = np.ones(len(sessions), bool)
    inside &= started >= since_us if since_us is not None else True
    inside &= started < until_us if until_us is not None else True
    order = np.flatnonzero(inside)[np.argsort(started[inside], kind="stable")]
    session_id = sessions["session_id"].to_numpy(np.int64)[order]
    place = pd.Series(np.arange(len(order)), index=session_id)
    row = place.reindex(events["session_id"]).to_numpy(np.float64)
    known = ~np.isnan(row)
    row = row[known].astype(np.int64)
    step, item, action = (events[name].to_numpy(np.int64)[known] for name in ("step", "restaurant_id", "action"))
    by_step = np.lexsort((step, row))
    row, item, action = row[by_step], item[by_step], action[by_step]
    count = np.bincount(row, minlength=len(order))
    start = np.cumsum(count) - count
    position = np.arange(len(row)) - start[row]
    dropped = np.maximum(count - longest, 0)
    kept = position >= dropped[row]
    items, actions = (np.full((len(order), longest), NOBODY, np.int64) for _ in range(2))
    items[row[kept], (position - dropped[row])[kept]] = item[kept]
    actions[row[kept], (position - dropped[row])[kept]] = action[kept]
    end = sessions["end_restaurant"].fillna(NOBODY).to_numpy(np.int64)[order]
    first = np.stack([item[start], action[start]], axis=1)
    return SessionRows(session_id, started[order], items, actions, np.minimum(count, longest), first, end)


def first_events(rows: SessionRows) -> SessionRows:
    """The same sessions as they stood after their first event."""
    items, actions = (np.full_like(rows.items, NOBODY) for _ in range(2))
    items[:, 0], actions[:, 0] = rows.first.T
    ones = np.ones(len(rows), np.int64)
    return SessionRows(rows.session_id, rows.started_us, items, actions, ones, rows.first, rows.end)
