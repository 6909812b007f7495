from datetime import datetime

import numpy as np

from bottega.datasets.eats_hours import draw_hours
from bottega.datasets.hours import open_at

RESTAURANTS = 300
LIVELY = np.linspace(0, 1, RESTAURANTS)
DINER = np.arange(RESTAURANTS) % 10 == 0


def open_share(at: str, which: np.ndarray) -> float:
    weeks = draw_hours(7, DINER, LIVELY)
    moment = datetime.fromisoformat(at)
    return float(
        np.mean(
            [open_at(week, moment, "America/New_York") for week, is_one in zip(weeks, which, strict=True) if is_one]
        )
    )


def test_diners_have_breakfast_and_no_dinner():
    assert open_share("2024-01-17T07:30", DINER) == 1.0
    assert open_share("2024-01-17T07:30", ~DINER) == 0.0
    assert open_share("2024-01-17T20:00", DINER) == 0.0


def test_lively_places_are_open_past_midnight_on_friday_and_others_are_not():
    lively = (LIVELY > 0.65) & ~DINER
    assert open_share("2024-01-20T01:30", lively) == 1.0  # the night from Friday to Saturday
    assert open_share("2024-01-20T02:00", lively) == 0.0
    assert open_share("2024-01-20T01:30", ~lively) == 0.0
    assert open_share("2024-01-18T01:30", lively) == 0.0


def test_a_third_rests_on_mondays_and_the_seed_decides_who():
    assert 0.2 < 1 - open_share("2024-01-15T19:00", ~DINER) < 0.45
    assert draw_hours(7, DINER, LIVELY) == draw_hours(7, DINER, LIVELY)
    assert draw_hours(7, DINER, LIVELY) != draw_hours(8, DINER, LIVELY)
