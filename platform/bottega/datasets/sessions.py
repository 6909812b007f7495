"""Sessions in a restaurant guide: what was looked at, what was asked for next, and which restaurant was chosen.

Three tables that refer to each other. A row is refused for the first rule of `dataset.toml` that it breaks, and refused
rows are counted by reason; a session that loses an event keeps the others.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.catalog import dataset
from bottega.datasets.guide_labels import with_traits
from bottega.datasets.relation import read_relation, table_file
from bottega.datasets.rules import Verdict
from bottega.datasets.spans import check_span, in_span
from bottega.errors import InvalidData, InvalidInput, NotFound

DATASET = "entree_chicago"
CITY = "chicago"
ACTIONS = ("browse", "cheaper", "creative", "lively", "nicer", "quieter", "traditional")
"""What a visitor does on a restaurant's page; all but the first are critiques. A model knows them by their place."""


@dataclass(frozen=True)
class Sessions:
    """Sessions of a span with their events, and the restaurants that they speak of."""

    sessions: pd.DataFrame
    """session_id int64, started_at datetime64[us, UTC], user_id int64, end_restaurant Int64 (null: not logged); by
    start."""
    events: pd.DataFrame
    """session_id, step, restaurant_id int64, action int8 (place in ACTIONS); by session and step."""
    restaurants: pd.DataFrame
    """restaurant_id int64 (0, 1, 2 and so on), name, features (lists of labels), and bottega.datasets.guide_labels'
    TRAITS."""
    rejected: dict[str, int]
    """Refused rows by reason; those of sessions outside the span are not counted."""

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The three tables by name."""
        return {"sessions": self.sessions, "events": self.events, "restaurants": self.restaurants}


def load_sessions(
    folder: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    restaurants: pd.DataFrame | None = None,
) -> Sessions:
    """The sessions that started in [since, until), both aware; `restaurants` serve where the folder lacks the table.

    Raises NotFound for a folder without sessions, events or any restaurants; InvalidData for a file that is not what
    it claims, or where no sound session is left; InvalidInput for a span without sessions.
    """
    check_span(since, until)
    rejected: Counter[str] = Counter()
    if table_file(folder, "restaurants") is not None:
        restaurants, refused = load_restaurants(folder)
        rejected.update(refused)
    elif restaurants is None:
        raise NotFound(f"{folder} has no restaurants.parquet.", next_step="Put it there, beside the sessions.")
    declared = dataset(DATASET)
    sessions, events = (read_relation(folder, declared, table) for table in ("sessions", "events"))

    known = restaurants["restaurant_id"].to_numpy()
    elsewhere = ("unknown_restaurant", ~_among(events.rows["restaurant_id"], known))
    sound = events.rows["session_id"][events.judge(elsewhere).good]
    end = sessions.rows["end_restaurant"]
    judged = sessions.judge(
        ("unknown_restaurant", ~_among(end, known) & end.notna().to_numpy()),
        ("session_without_events", ~_among(sessions.rows["session_id"], sound)),
    )
    orphan = ~_among(events.rows["session_id"], sessions.rows["session_id"][judged.good])
    events_judged = events.judge(elsewhere, ("event_without_session", orphan))

    started = sessions.rows["started_at"].dt.tz_localize(None).to_numpy("datetime64[us]")
    inside = in_span(started, since, until)
    outside = sessions.rows["session_id"][~inside & ~np.isnat(started)]
    events_inside = ~_among(events.rows["session_id"], outside)
    rejected.update(_count(judged, inside | np.isnat(started)))
    rejected.update(_count(events_judged, events_inside))
    found = sessions.rows[judged.good & inside]
    if found.empty:
        raise _nothing(folder, started, rejected, since, until)
    return Sessions(_sessions(found), _events(events.rows[events_judged.good & events_inside]), restaurants, rejected)


def load_restaurants(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The city's restaurants in the order of their numbers, and the refused rows by reason.

    Raises InvalidData where the numbers are not 0, 1, 2 and so on: sessions and models name restaurants by them.
    """
    table = read_relation(folder, dataset(DATASET), "restaurants")
    verdict = table.judge()
    found = table.rows[verdict.good & (table.rows["city"] == CITY).to_numpy()]
    found = found.sort_values("restaurant_id", ignore_index=True).astype({"restaurant_id": np.int64})
    if not len(found) or not np.array_equal(found["restaurant_id"], np.arange(len(found))):
        raise InvalidData(
            f"{folder}: the {len(found)} restaurants of {CITY!r} are not numbered 0, 1, 2 and so on.",
            next_step="Number them without gaps.",
        )
    return with_traits(found[["restaurant_id", "name", "features"]]), verdict.counts()


def _among(values: pd.Series, known: np.ndarray | pd.Series) -> np.ndarray:
    """Which values are known, (rows,) bool; a null is not."""
    return values.isin(known).to_numpy(bool, na_value=False) & values.notna().to_numpy()


def _count(verdict: Verdict, rows: np.ndarray) -> dict[str, int]:
    return Verdict(verdict.reason[rows], verdict.reasons).counts()


def _sessions(rows: pd.DataFrame) -> pd.DataFrame:
    kinds = {"session_id": np.int64, "user_id": np.int64}
    return rows.astype(kinds).sort_values(["started_at", "session_id"], ignore_index=True)


def _events(rows: pd.DataFrame) -> pd.DataFrame:
    coded = rows.assign(action=pd.Categorical(rows["action"], ACTIONS).codes)
    kinds = {"session_id": np.int64, "step": np.int64, "restaurant_id": np.int64, "action": np.int8}
    return coded.astype(kinds).sort_values(["session_id", "step"], ignore_index=True)


def _nothing(
    folder: Path, started: np.ndarray, rejected: Mapping[str, int], since: datetime | None, until: datetime | None
) -> InvalidData | InvalidInput:
    """What to say where no session is left."""
    known = started[~np.isnat(started)]
    if len(known) and not in_span(known, since, until).any():
        return InvalidInput(
            f"{folder} has sessions from {known.min()} to {known.max()} UTC, none in the span asked for.",
            next_step="Choose a span inside it.",
        )
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.items()) or "the table is empty"
    return InvalidData(f"{folder}: no sound session is left: {reasons}.", next_step="Correct the rows.")
