"""Chunks: one entity's tiles over a fixed span, packed so that any window is the difference of two columns.

A chunk is an int64 matrix (1 + states, 1 + tiles): tile numbers, then a row for each state. Counts and sums are running
totals within the chunk; least and greatest values stand as they are. Column 0 is an empty tile before all others. A
seven-day window thus costs as much as one of 15 minutes.
"""

import numpy as np

from bottega.features.definition import Layout, State
from bottega.features.tiles import changes, reduce_runs

CHUNK = 2048
"""Tiles a chunk: 7.1 days of five minutes."""
_BEFORE_ALL = -(2**62)


def merge(packed: bytes | memoryview | None, layout: Layout, tile: np.ndarray, state: np.ndarray) -> bytes:
    """The chunk with more tiles added up: tile (t,) sorted, state (states, t)."""
    if packed is not None:
        old_tile, old_state = unpack(packed, layout)
        tile, state = np.concatenate([old_tile, tile]), np.concatenate([old_state, state], axis=1)
        order = np.argsort(tile, kind="stable")
        tile, state = tile[order], state[:, order]
        first = np.flatnonzero(changes([tile], len(tile)))
        tile = tile[first]
        state = np.array([reduce_runs(s, state[i], first) for i, s in enumerate(layout.states)])
    return pack(layout, tile, state)


def pack(layout: Layout, tile: np.ndarray, state: np.ndarray) -> bytes:
    """Pack tiles (t,) and states (states, t) into a chunk."""
    matrix = np.empty((1 + len(layout.states), 1 + len(tile)), np.int64)
    matrix[0, 0], matrix[0, 1:] = _BEFORE_ALL, tile
    matrix[1:, 0], matrix[1:, 1:] = layout.neutral, state
    for row, s in enumerate(layout.states, start=1):
        if _adds(s):
            np.cumsum(matrix[row], out=matrix[row])
    return matrix.tobytes()


def unpack(packed: bytes | memoryview, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Tiles (t,) and states (states, t) of a chunk."""
    matrix = np.frombuffer(packed, np.int64).reshape(1 + len(layout.states), -1)
    state = matrix[1:, 1:].copy()
    for row, s in enumerate(layout.states):
        if _adds(s):
            state[row] -= matrix[1 + row, :-1]
    return matrix[0, 1:].copy(), state


def add_windows(totals: np.ndarray, packed: bytes | memoryview, layout: Layout, edges: np.ndarray) -> None:
    """Add a chunk's share to window totals (states, W, batch).

    `edges` (batch, W + 1): the last tile before each window, then the last tile of all windows.
    """
    matrix = np.frombuffer(packed, np.int64).reshape(1 + len(layout.states), -1)
    found = matrix[0].searchsorted(edges, side="right") - 1  # (batch, W + 1)
    if all(state.adds for state in layout.states):
        taken = matrix[1:].take(found, axis=1)  # (states, batch, W + 1)
        totals += (taken[:, :, -1:] - taken[:, :, :-1]).transpose(0, 2, 1)
        return
    for row, state in enumerate(layout.states):
        values = matrix[1 + row]
        if _adds(state):
            taken = values[found]
            totals[row] += (taken[:, -1:] - taken[:, :-1]).T
        else:
            _extremes(totals[row], values, found, np.minimum if state.kind == "min" else np.maximum)


def _extremes(total: np.ndarray, values: np.ndarray, found: np.ndarray, combine: np.ufunc) -> None:
    """Combine into total (W, batch) the least or greatest of values[begin:end] for each window."""
    begin = found[:, :-1].T + 1  # (W, batch)
    end = np.broadcast_to(found[:, -1] + 1, begin.shape)
    runs = np.stack([begin, end], axis=-1).reshape(-1)
    padded = np.append(values, values[0])  # values[0] is neutral; an end may be one past the last tile
    best = combine.reduceat(padded, runs)[::2].reshape(begin.shape)
    combine(total, np.where(begin < end, best, values[0]), out=total)


def _adds(state: State) -> bool:
    return state.adds
