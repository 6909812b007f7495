"""Sessions as arrays: in order, cut on the old side, and without their end."""

import numpy as np
import pandas as pd
import pytest

from bottega.ranking.session_rows import NOBODY, SessionRows, first_events, session_rows

SESSIONS = pd.DataFrame(
    {
        "session_id": [7, 3, 5],
        "started_at": pd.to_datetime([30, 10, 20], unit="us", utc=True).as_unit("us"),
        "end_restaurant": pd.array([4, None, 1], dtype="Int64"),
    }
)
EVENTS = pd.DataFrame(
    {
        "session_id": [5, 5, 5, 3, 7, 7, 99],
        "step": [2, 0, 1, 0, 0, 1, 0],
        "restaurant_id": [30, 10, 20, 5, 8, 9, 1],
        "action": [3, 1, 2, 0, 0, 6, 0],
    }
)


@pytest.fixture
def rows() -> SessionRows:
    return session_rows({"sessions": SESSIONS, "events": EVENTS}, 2)


def test_sessions_are_by_start_and_keep_their_last_events(rows: SessionRows) -> None:
    assert rows.session_id.tolist() == [3, 5, 7]
    assert rows.items.tolist() == [[5, NOBODY], [20, 30], [8, 9]]
    assert rows.actions.tolist() == [[0, NOBODY], [2, 3], [0, 6]]
    assert rows.length.tolist() == [1, 2, 2]
    assert rows.first.tolist() == [[5, 0], [10, 1], [8, 0]]
    assert rows.end.tolist() == [NOBODY, 1, 4]


def test_what_followed_is_the_next_event_and_then_the_end(rows: SessionRows) -> None:
    assert rows.following().tolist() == [[NOBODY, NOBODY], [30, 1], [9, 4]]


def test_the_newest_events_come_first(rows: SessionRows) -> None:
    items, actions = rows.newest(3)
    assert items.tolist() == [[5, NOBODY, NOBODY], [30, 20, NOBODY], [9, 8, NOBODY]]
    assert actions.tolist() == [[0, NOBODY, NOBODY], [3, 2, NOBODY], [6, 0, NOBODY]]


def test_the_first_event_alone_is_known_in_its_task(rows: SessionRows) -> None:
    first = first_events(rows)
    assert first.newest(2)[0].tolist() == [[5, NOBODY], [10, NOBODY], [8, NOBODY]]
    assert first.end.tolist() == rows.end.tolist()


def test_a_span_counts_the_start_and_not_the_end() -> None:
    found = session_rows({"sessions": SESSIONS, "events": EVENTS}, 3, 20, 30)
    assert found.session_id.tolist() == [5]
    assert found.items.tolist() == [[10, 20, 30]]
    assert len(found.where(np.array([False]))) == 0
