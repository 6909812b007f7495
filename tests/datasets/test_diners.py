import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from bottega.datasets.diners import clean_city, load_diners
from bottega.datasets.hours import DAYS, on_days
from bottega.errors import InvalidData, NotFound

NEAR, FAR = (22.15, -100.98), (18.92, -99.23)  # San Luis Potosi, Cuernavaca


def place(number: int, city: str | None, at: tuple[float, float] = NEAR, **changes) -> dict:
    plain = {
        "place_id": number, "latitude": at[0], "longitude": at[1], "name": "la_casa", "city": city, "state": "?",
        "alcohol": "Full_Bar", "smoking_area": "none", "dress_code": "informal", "accessibility": "completely",
        "price": "low", "ambience": "familiar", "franchise": "f", "area": "closed", "other_services": "none",
        "cuisines": "Bar|Mexican", "parking": "none", "payments": None,
    }  # fmt: skip
    return plain | changes


def user(name: str, **changes) -> dict:
    plain = {
        "user_id": name, "latitude": 22.1, "longitude": -101.0, "smoker": None, "drink_level": "abstemious",
        "dress_preference": None, "ambience": "family", "transport": "public", "birth_year": 1990, "interest": "none",
        "activity": "student", "budget": "low", "cuisines": "Mexican", "payments": "cash",
    }  # fmt: skip
    return plain | changes


def rating(who: str, where: int, value: int = 2) -> dict:
    return {"user_id": who, "place_id": where, "rating": value, "food_rating": 1, "service_rating": 0}


def write(folder: Path, places=None, users=None, ratings=None, hours=None) -> Path:
    tables = {
        "places": places or [place(1, "s.l.p."), place(2, "Cuernavaca", FAR)],
        "users": users or [user("U2"), user("U1")],
        "ratings": ratings or [rating("U1", 1)],
        "hours": hours or [{"place_id": 1, "hours": "20:00-01:30;", "days": "Sat;Sun;"}],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize(
    ("written", "city"),
    [("s.l.p.", "San Luis Potosi"), ("san luis potos", "San Luis Potosi"), ("SAN LUIS POTOSÍ ", "San Luis Potosi"),
     ("Cd. Victoria", "Ciudad Victoria"), ("victoria ", "Ciudad Victoria"), ("Paris", None), ("", None)],
)  # fmt: skip
def test_one_spelling_a_city(written, city):
    assert clean_city(written) == city
    assert clean_city(unicodedata.normalize("NFD", written)) == city


def test_a_missing_city_is_the_nearest_place_s_and_the_state_follows(tmp_path):
    places = [place(3, None, (18.90, -99.20)), place(1, "slp"), place(2, "cuernavaca", FAR), place(4, "Narnia")]
    found = load_diners(write(tmp_path, places)).places
    assert found["place_id"].tolist() == [1, 2, 3, 4]
    assert found["city"].tolist() == ["San Luis Potosi", "Cuernavaca", "Cuernavaca", "San Luis Potosi"]
    assert found["state"].tolist() == ["San Luis Potosi", "Morelos", "Morelos", "San Luis Potosi"]
    assert found["name"].tolist() == ["la casa"] * 4
    assert found["cuisines"].tolist() == [["Bar", "Mexican"]] * 4


def test_hours_by_place_a_closed_day_and_a_place_of_unknown_hours(tmp_path):
    hours = [
        {"place_id": 1, "hours": "08:00-12:00;20:00-01:00;", "days": "Mon;Tue;Wed;Thu;Fri;"},
        {"place_id": 1, "hours": "00:00-00:00;", "days": "Sun;"},
        {"place_id": 2, "hours": "00:00-00:00;", "days": "Mon;"},
    ]
    found = load_diners(write(tmp_path, hours=hours)).hours
    assert set(found) == {1}
    assert found[1] == tuple(sorted((*on_days((480, 720), DAYS[:5]), *on_days((1200, 1500), DAYS[:5]))))


def test_bad_rows_are_refused_by_table_and_reason(tmp_path):
    folder = write(
        tmp_path,
        [place(1, "slp"), place(1, "slp"), place(2, "slp", price="free"), place(3, "slp", (122.0, 0.0))],
        [user("U1"), user("U1")],
        [rating("U1", 1), rating("U1", 1), rating("U1", 1, 5), rating("U9", 1), rating("U1", 2)],
    )
    found = load_diners(folder)
    assert found.rejected == {
        "places.outside_the_earth": 1,
        "places.unknown_price": 1,
        "places.duplicate_place": 1,
        "users.duplicate_user": 1,
        "ratings.rating_out_of_range": 1,
        "ratings.duplicate_rating": 1,
        "ratings.unknown_user": 1,
        "ratings.unknown_place": 1,
    }
    assert len(found.ratings) == 1


def test_files_that_are_not_what_they_claim(tmp_path):
    with pytest.raises(NotFound, match=r"no places\.parquet"):
        load_diners(tmp_path)
    with pytest.raises(InvalidData, match="'25:00-26:00' are no opening hours"):
        load_diners(write(tmp_path, hours=[{"place_id": 1, "hours": "25:00-26:00;", "days": "Sat;"}]))
    with pytest.raises(InvalidData, match="ratings has no sound row"):
        load_diners(write(tmp_path, ratings=[rating("nobody", 1)]))
    with pytest.raises(InvalidData, match="No place has a known city"):
        load_diners(write(tmp_path, [place(1, "Paris")]))
    pd.DataFrame([user("U1")]).drop(columns="budget").to_parquet(tmp_path / "users.parquet")
    with pytest.raises(InvalidData, match="lacks the column budget"):
        load_diners(tmp_path)


@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="needs the real data: set BOTTEGA_DATA")
def test_the_real_tables():
    found = load_diners(Path(os.environ["BOTTEGA_DATA"]) / "uci_restaurant")
    assert found.rejected == {}
    assert set(found.places["city"]) == {"San Luis Potosi", "Soledad", "Ciudad Victoria", "Cuernavaca", "Jiutepec"}
    assert (len(found.places), len(found.users), len(found.ratings), len(found.hours)) == (130, 138, 915, 120)
    assert found.ratings["user_id"].nunique() == 110
