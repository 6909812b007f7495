"""Copies: events that came more than once, told by their id, their entity and their tile."""

import hashlib
from collections.abc import Iterable

import numpy as np

from bottega.features.binding import Events


def identities(events: Events) -> np.ndarray:
    """What makes each event itself: (n, columns) int64, its tile first."""
    columns = [events.tile, *events.id]
    for key in events.keys:
        columns += digests(key) if key.dtype == object else (key,)
    return np.stack(columns, axis=1) if columns else np.empty((len(events), 0), np.int64)


def first_of(identity: np.ndarray) -> np.ndarray:
    """Which rows are the first of their identity: (n,) bool."""
    first = np.zeros(len(identity), bool)
    order = np.lexsort(identity.T[::-1])
    ranked = identity[order]
    new = np.ones(len(order), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    first[order[new]] = True  # lexsort is stable: the first of a run is the first of the rows
    return first


def first_arrivals(events: Events) -> np.ndarray:
    """Which events are no copies: the one that arrived first counts, of several at once the first of the table."""
    if not events.id:
        return np.ones(len(events), bool)
    order = np.argsort(events.available_us, kind="stable")
    found = np.empty(len(events), bool)
    found[order] = first_of(identities(events)[order])
    return found


def digests(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as two int64 columns: the halves of a 128-bit digest."""
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    halves = np.frombuffer(joined, np.int64).reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()
