"""The profile against pandas, and that a row's own week is in none of its inputs."""

import numpy as np
import pandas as pd
import pytest

from bottega.times import HOUR_US
from bottega.training.profile import WEEK, WEEK_US, Totals, Weeks, as_table, profile_columns

ZONES = 4


@pytest.fixture
def rows() -> pd.DataFrame:
    """Three weeks and a bit of counts by zone and hour."""
    hours = np.arange(3 * WEEK + 30)
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"hour": np.repeat(hours, ZONES), "zone": np.tile(np.arange(ZONES), len(hours))})
    table["how"] = table["hour"] % WEEK
    table["at"] = WEEK_US * 2700 + table["hour"] * HOUR_US
    return table.assign(trips=rng.poisson(1.0 + table["zone"] * 2.0 + table["how"] % 24 / 6).astype(float))


def totals(rows: pd.DataFrame) -> Totals:
    parts = (rows[name].to_numpy() for name in ("zone", "how"))
    return Totals.of(*parts, {"trips": rows["trips"].to_numpy()}, ZONES, rows["at"].to_numpy())


def weeks(rows: pd.DataFrame) -> Weeks:
    parts = (rows[name].to_numpy() for name in ("zone", "how"))
    return Weeks.of(*parts, {"trips": rows["trips"].to_numpy()}, ZONES, rows["at"].to_numpy())


def test_the_plain_mean_is_that_of_zone_weekday_and_hour(rows: pd.DataFrame) -> None:
    profile = totals(rows).profile()
    assert set(profile) == set(profile_columns("trips"))
    wanted = rows.groupby(["zone", "how"])["trips"].mean().unstack()
    np.testing.assert_allclose(profile["trips_mean"], wanted.to_numpy())
    np.testing.assert_allclose(profile["trips_level"][:, 0], rows.groupby("zone")["trips"].mean())


def test_what_is_usual_lies_between_the_hour_and_the_day(rows: pd.DataFrame) -> None:
    profile = totals(rows).profile()
    low, high = (bound(profile["trips_mean"], profile["trips_day"]) for bound in (np.minimum, np.maximum))
    assert ((profile["trips_usual"] >= low - 1e-9) & (profile["trips_usual"] <= high + 1e-9)).all()


def test_hours_before_are_added_up_around_the_week(rows: pd.DataFrame) -> None:
    profile = totals(rows).profile()
    usual = profile["trips_usual"]
    np.testing.assert_allclose(profile["trips_usual_3h"][:, 1], usual[:, 0] + usual[:, 167] + usual[:, 166])
    np.testing.assert_allclose(profile["trips_city_1h"][0], np.roll(usual.sum(axis=0), 1))


def test_a_rows_own_week_does_not_matter(rows: pd.DataFrame) -> None:
    asked = rows[rows["at"] // WEEK_US == 2701]
    parts = [asked[name].to_numpy() for name in ("zone", "how", "at")]
    changed = rows.assign(trips=np.where(rows["at"] // WEEK_US == 2701, 999.0, rows["trips"]))
    before, after = weeks(rows).profile_of(*parts), weeks(changed).profile_of(*parts)
    others = totals(rows[rows["at"] // WEEK_US != 2701]).profile()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-9)
        np.testing.assert_allclose(before[name], others[name][parts[0], parts[1]], atol=1e-9)


def test_the_table_answers_by_zone_and_hour_of_the_week(rows: pd.DataFrame) -> None:
    profile = totals(rows).profile()
    table = as_table(profile, np.arange(1, ZONES))
    (mean,) = table.read([np.array([2.0, 3.0]), np.array([5.0, 100.0])], ["trips_mean"])
    np.testing.assert_allclose(mean, [profile["trips_mean"][2, 5], profile["trips_mean"][3, 100]])
    assert np.isnan(table.read([np.array([0]), np.array([0])], ["trips_mean"])[0]).all()
