"""Sessions of the restaurant guide: sound rows as they are, refused ones by reason, broken files said plainly."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottega.datasets.catalog import dataset
from bottega.datasets.sessions import ACTIONS, load_restaurants, load_sessions
from bottega.errors import InvalidData, InvalidInput, NotFound

RESTAURANTS = pd.DataFrame(
    {
        "city": ["chicago", "chicago", "boston", "chicago"],
        "restaurant_id": [1, 0, 0, 2],
        "name": ["Oak", "Elm", "Fir", "Ash"],
        "features": [["Thai", "below $15"], ["Greek"], ["Deli"], []],
    }
)
SESSIONS = pd.DataFrame(
    {
        "session_id": [10, 11, 12],
        "started_at": pd.to_datetime(["1998-05-01 10:00", "1998-05-02 10:00", "1998-06-01 10:00"]).astype(
            "datetime64[ms]"
        ),
        "user_id": [1, 2, 1],
        "end_restaurant": [2.0, None, 0.0],
    }
)
EVENTS = pd.DataFrame(
    {
        "session_id": [10, 10, 11, 12],
        "step": [1, 0, 0, 0],
        "restaurant_id": [1, 0, 2, 1],
        "action": ["cheaper", "browse", "browse", "lively"],
    }
)


def write(folder: Path, **tables: pd.DataFrame) -> Path:
    """The three sound tables, or those given in their place."""
    for name, sound in (("sessions", SESSIONS), ("events", EVENTS), ("restaurants", RESTAURANTS)):
        tables.setdefault(name, sound).to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def test_the_tables_come_in_order_and_only_the_city_of_the_sessions(tmp_path: Path) -> None:
    found = load_sessions(write(tmp_path))
    assert found.sessions["session_id"].tolist() == [10, 11, 12]
    assert found.sessions["end_restaurant"].isna().tolist() == [False, True, False]
    assert found.events[["session_id", "step"]].to_numpy().tolist() == [[10, 0], [10, 1], [11, 0], [12, 0]]
    assert [ACTIONS[code] for code in found.events["action"]] == ["browse", "cheaper", "browse", "lively"]
    assert found.restaurants["name"].tolist() == ["Elm", "Oak", "Ash"]
    assert found.rejected == {}


def test_a_span_counts_the_start_and_not_the_end(tmp_path: Path) -> None:
    found = load_sessions(write(tmp_path), datetime(1998, 5, 2, 10, tzinfo=UTC), datetime(1998, 6, 1, 10, tzinfo=UTC))
    assert found.sessions["session_id"].tolist() == found.events["session_id"].tolist() == [11]
    with pytest.raises(InvalidInput, match="none in the span"):
        load_sessions(tmp_path, datetime(1999, 1, 1, tzinfo=UTC))


def test_each_refused_row_is_counted_by_the_first_rule_that_it_breaks(tmp_path: Path) -> None:
    bad_sessions = pd.DataFrame(
        {
            "session_id": [12, 13, 14, 15, 16],
            "started_at": pd.to_datetime(["1998-06-01"] * 3 + [None, "1998-06-02"]).astype("datetime64[ms]"),
            "user_id": [1, 1, 1, 1, None],
            "end_restaurant": [0.0, 3.0, 0.5, 0.0, 0.0],
        }
    )
    bad_events = pd.DataFrame(
        {
            "session_id": [10, 10, 10, 10, 13, 99],
            "step": [0, -1, 3, 4, 0, 0],
            "restaurant_id": [0, 0, 3, 0, 0, 0],
            "action": ["browse", "browse", "browse", "louder", "browse", "browse"],
        }
    )
    found = load_sessions(
        write(
            tmp_path,
            sessions=pd.concat([SESSIONS, bad_sessions], ignore_index=True),
            events=pd.concat([EVENTS, bad_events], ignore_index=True),
        )
    )
    assert found.rejected == {
        "duplicate_session": 1,  # 12 again
        "unknown_restaurant": 1 + 1,  # the end of 13, and an event of 10
        "wrong_type": 1,  # half a restaurant
        "null_started_at": 1,
        "null_user_id": 1,
        "duplicate_step": 1,
        "step_out_of_range": 1,
        "unknown_action": 1,
        "event_without_session": 2,  # 13, which was refused, and 99, which is absent
    }
    assert found.sessions["session_id"].tolist() == [10, 11, 12]
    assert len(found.events) == len(EVENTS)


def test_sessions_without_events_are_refused(tmp_path: Path) -> None:
    found = load_sessions(write(tmp_path, events=EVENTS[EVENTS["session_id"] == 10]))
    assert found.rejected == {"session_without_events": 2}
    with pytest.raises(InvalidData, match="no sound session is left: session_without_events 3"):
        load_sessions(write(tmp_path, events=EVENTS[:0]))


def test_restaurants_given_serve_where_the_folder_has_none(tmp_path: Path) -> None:
    known, _ = load_restaurants(write(tmp_path))
    (tmp_path / "restaurants.parquet").unlink()
    with pytest.raises(NotFound, match=r"no restaurants\.parquet"):
        load_sessions(tmp_path)
    assert load_sessions(tmp_path, restaurants=known[:2]).rejected["unknown_restaurant"] == 1 + 1


def test_csv_files_say_the_same(tmp_path: Path) -> None:
    sound = load_sessions(write(tmp_path))
    for name, table in (("sessions", SESSIONS), ("events", EVENTS), ("restaurants", RESTAURANTS)):
        if name == "restaurants":
            table = table.assign(features=table["features"].map("|".join))
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        (tmp_path / f"{name}.parquet").unlink()
    text = load_sessions(tmp_path)
    for name, table in sound.tables.items():
        pd.testing.assert_frame_equal(table, text.tables[name])


def test_files_that_are_not_what_they_claim_name_file_and_column(tmp_path: Path) -> None:
    write(tmp_path, sessions=SESSIONS.drop(columns="user_id"))
    with pytest.raises(InvalidData, match=r"sessions\.parquet lacks the column user_id"):
        load_sessions(tmp_path)
    write(tmp_path, events=EVENTS.assign(step="first"))
    with pytest.raises(InvalidData, match=r"events\.parquet: the column 'step'"):
        load_sessions(tmp_path)
    write(tmp_path, restaurants=RESTAURANTS.assign(features=1))
    with pytest.raises(InvalidData, match="must hold lists of texts"):
        load_sessions(tmp_path)
    write(tmp_path, restaurants=RESTAURANTS[1:])
    with pytest.raises(InvalidData, match="not numbered 0, 1, 2"):
        load_sessions(tmp_path)
    write(tmp_path)
    (tmp_path / "events.parquet").write_text("no table")
    with pytest.raises(InvalidData, match=r"events\.parquet cannot be read"):
        load_sessions(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(RESTAURANTS), tmp_path / "restaurants.parquet")
    with pytest.raises(NotFound, match=r"no sessions\.parquet"):
        load_sessions(tmp_path)


def test_the_card_names_every_column_and_reason() -> None:
    declared = dataset("entree_chicago")
    card = declared.card.read_text("utf-8")
    assert all(column.name in card for column in declared.columns)
    assert all(check.reason in card for check in declared.checks)


@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder with real data")
def test_the_real_sessions_are_sound() -> None:
    found = load_sessions(Path(os.environ["BOTTEGA_DATA"]) / "entree_chicago")
    assert (len(found.restaurants), len(found.sessions), len(found.events)) == (676, 42_790, 160_484)
    assert found.rejected == {}
