"""Opening hours of Saltmere's restaurants: diners at breakfast, kitchens with a pause, lively places past midnight."""

import numpy as np

from bottega.datasets.hours import DAYS, Spans, on_days, read_span

_BREAKFAST, _LUNCH, _DINNER, _ALL_DAY = map(read_span, ("07:00-15:00", "12:00-14:30", "17:30-22:30", "11:00-22:00"))
_LATE = read_span("18:00-02:00")
LIVELY = 0.65


def draw_hours(seed: int, is_diner: np.ndarray, lively: np.ndarray) -> list[Spans]:
    """The week of each restaurant: is_diner (restaurants,) bool, lively (restaurants,) 0 to 1; from the seed alone.

    A third close on Mondays. Lively ones close at 2 o'clock on Saturday and Sunday mornings.
    """
    rng = np.random.default_rng([seed, 14])
    rests, all_day = rng.random(len(lively)) < 1 / 3, rng.random(len(lively)) < 0.3
    weeks: list[Spans] = []
    for i in range(len(lively)):
        open_days = DAYS[1:] if rests[i] else DAYS
        if is_diner[i]:
            weeks.append(on_days(_BREAKFAST, open_days))
            continue
        late = ("Fri", "Sat") if lively[i] > LIVELY else ()
        early = [day for day in open_days if day not in late]
        day_time = on_days(_ALL_DAY, open_days) if all_day[i] else on_days(_LUNCH, open_days)
        weeks.append(tuple(sorted((*day_time, *on_days(_DINNER, early), *on_days(_LATE, late)))))
    return weeks
