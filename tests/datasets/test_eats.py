"""The invented guide: the same from the same seed, each day alone, and visitors who end where they are content."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.eats import LIST, LONGEST, RESTAURANTS, build_guide, build_visitors, simulate_sessions
from bottega.datasets.session_sources import read_session_sources
from bottega.datasets.sessions import ACTIONS, DATASET, Sessions
from bottega.errors import InvalidInput, NotFound
from bottega.settings import Settings
from bottega.workspace import Workspace

SEED = 5


@pytest.fixture(scope="module")
def week() -> Sessions:
    return simulate_sessions(SEED, date(2024, 3, 1), date(2024, 3, 8))


def test_a_day_does_not_depend_on_the_span(week: Sessions) -> None:
    alone = simulate_sessions(SEED, date(2024, 3, 3), date(2024, 3, 4))
    of_week = week.sessions["session_id"].isin(alone.sessions["session_id"])
    pd.testing.assert_frame_equal(week.sessions[of_week].reset_index(drop=True), alone.sessions)
    of_week = week.events["session_id"].isin(alone.sessions["session_id"])
    pd.testing.assert_frame_equal(week.events[of_week].reset_index(drop=True), alone.events)
    other = simulate_sessions(SEED + 1, date(2024, 3, 3), date(2024, 3, 4))
    assert other.events["restaurant_id"].tolist() != alone.events["restaurant_id"].tolist()


def test_every_session_has_events_in_order_and_known_restaurants(week: Sessions) -> None:
    steps = week.events.groupby("session_id")["step"]
    assert (steps.max() + 1 == steps.size()).all() and steps.size().max() <= LONGEST
    assert set(steps.size().index) == set(week.sessions["session_id"])
    assert week.events["restaurant_id"].between(0, RESTAURANTS - 1).all()
    assert week.sessions["end_restaurant"].dropna().between(0, RESTAURANTS - 1).all()
    assert week.restaurants["name"].is_unique


def test_lists_are_of_others_and_do_what_the_critique_asks() -> None:
    guide = build_guide(SEED)
    assert guide.lists.shape[1:] == (RESTAURANTS, len(ACTIONS), LIST)
    own = np.arange(RESTAURANTS)[None, :, None, None]
    assert not (guide.lists == own).any()
    price = guide.traits["price"]
    dear = np.flatnonzero(price == 3)
    assert (price[guide.lists[:, dear, ACTIONS.index("cheaper")]] < 3).all()


def test_visitors_end_at_restaurants_that_they_like(week: Sessions) -> None:
    taken = week.sessions.dropna(subset="end_restaurant")
    utility = build_visitors(SEED).utility[taken["user_id"]]
    rank = (utility > utility[np.arange(len(taken)), taken["end_restaurant"].astype(int)][:, None]).mean(1)
    assert np.median(rank) < 0.2  # by chance 0.5


def test_reading_without_data_invents_the_span(tmp_path: Path) -> None:
    workspace, settings = Workspace.open(tmp_path / "w"), Settings(seed=SEED)
    since, until = datetime(2024, 3, 1, 20, tzinfo=UTC), datetime(2024, 3, 2, 20, tzinfo=UTC)
    found = read_session_sources(workspace, settings, since, until)
    assert found.data_source == "simulator:eats" and found.rejected == {}
    assert found.span == (since, until)
    assert found.sources["sessions"]["started_at"].between(since, until).all()
    assert found.rows == len(found.sources["sessions"]) > 0
    assert found.fingerprint == read_session_sources(workspace, settings, since, until).fingerprint
    with pytest.raises(InvalidInput, match="only"):
        read_session_sources(workspace, settings, datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 2, 1, tzinfo=UTC))


def test_a_folder_without_restaurants_is_served_by_the_training_data(tmp_path: Path, week: Sessions) -> None:
    own, other = tmp_path / "own" / DATASET, tmp_path / "other" / DATASET
    own.mkdir(parents=True)
    other.mkdir(parents=True)
    coded = week.events.assign(action=[ACTIONS[code] for code in week.events["action"]])
    for folder in (own, other):
        week.sessions.to_parquet(folder / "sessions.parquet")
        coded.to_parquet(folder / "events.parquet")
    workspace = Workspace.open(tmp_path / "w")
    known = {"restaurants": week.restaurants[["restaurant_id"]]}
    found = read_session_sources(workspace, Settings(), None, None, data=tmp_path / "other", known=known)
    assert found.rows == len(week.sessions)
    with pytest.raises(NotFound, match=r"restaurants\.parquet"):
        read_session_sources(workspace, Settings(), None, None, data=other)
    week.restaurants.assign(city="chicago").to_parquet(own / "restaurants.parquet")
    found = read_session_sources(workspace, Settings(data=tmp_path / "own"), None, None, data=other)
    pd.testing.assert_frame_equal(found.sources["events"], week.events.sort_values(["session_id", "step"]))
    assert found.span[1] > week.sessions["started_at"].max() >= found.span[1] - pd.Timedelta("1s")
