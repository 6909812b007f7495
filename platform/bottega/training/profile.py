"""The profile: what is usual in a zone at an hour of the week, learned from counts, without a row's own week.

A zone's counts are few, so an hour of the week is drawn to that hour of all working days, and that to the zone's mean.
"""

from dataclasses import dataclass

import numpy as np

from bottega.features.tables import Table
from bottega.times import HOUR_US

WEEK = 168
WEEK_US = WEEK * HOUR_US
_DAY_TYPES = np.array([0, 0, 0, 0, 1, 2, 3])
"""Monday to Thursday are alike."""
_OWN_WEIGHT, _LEVEL_WEIGHT = 4.0, 2.0
"""Weeks that the usual day counts as, beside the hour's own; and the zone's mean, beside the usual day's."""
_BACK = (1, 3, 6)
"""Hours back over which the usual counts are added up."""

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Totals:
    """Counts added up by zone and hour of the week, with how many such hours there were.

    `counts` maps a name to (zones, WEEK) float64, `hours` is (WEEK,); zones are rows by id.
    """

    counts: Columns
    hours: np.ndarray

    @classmethod
    def of(cls, zone: np.ndarray, how: np.ndarray, counts: Columns, zones: int, at: np.ndarray) -> "Totals":
        """From rows: zone id, hour of the week, counts, and the hour itself, (rows,) each."""
        entry = zone.astype(np.int64) * WEEK + how
        added = {name: np.bincount(entry, values, zones * WEEK).reshape(zones, WEEK) for name, values in counts.items()}
        _, first = np.unique(at, return_index=True)
        return cls(added, np.bincount(how[first], minlength=WEEK).astype(np.float64))

    def without(self, other: "Totals") -> "Totals":
        """These, less the other's."""
        return Totals({name: mine - other.counts[name] for name, mine in self.counts.items()}, self.hours - other.hours)

    def profile(self) -> Columns:
        """The profile's columns, (zones, WEEK) each: see `profile_columns`."""
        found: Columns = {}
        for name, total in self.counts.items():
            level = total.sum(axis=1, keepdims=True) / max(self.hours.sum(), 1.0)
            pool, days = (_by_day_type(values) for values in (total, np.broadcast_to(self.hours, total.shape)))
            day = (pool + _LEVEL_WEIGHT * level) / (days + _LEVEL_WEIGHT)
            usual = (total + _OWN_WEIGHT * day) / (self.hours + _OWN_WEIGHT)
            found[f"{name}_mean"] = total / np.maximum(self.hours, 1.0)
            found[f"{name}_level"] = np.broadcast_to(level, total.shape)
            found[f"{name}_usual"], found[f"{name}_day"] = usual, day
            city = np.broadcast_to(usual.sum(axis=0), total.shape)
            for back in _BACK:
                found[f"{name}_usual_{back}h"] = _before(usual, back)
                found[f"{name}_city_{back}h"] = _before(city, back)
            found[f"{name}_city_level"] = np.broadcast_to(level.sum(), total.shape)
        return found


def profile_columns(name: str) -> tuple[str, ...]:
    """Names of a count's columns: the plain mean, the level, the usual count there and then, and those just before."""
    around = [f"{name}_{kind}_{back}h" for back in _BACK for kind in ("usual", "city")]
    return (f"{name}_mean", f"{name}_level", f"{name}_usual", f"{name}_day", *around, f"{name}_city_level")


def as_table(profile: Columns, ids: np.ndarray) -> Table:
    """The profile of these zone ids as a plan's table, by zone and hour of the week."""
    zone, how = (np.ravel(grid) for grid in np.meshgrid(ids, np.arange(WEEK), indexing="ij"))
    columns = {name: np.ascontiguousarray(values[zone, how], np.float64) for name, values in profile.items()}
    return Table.from_keys([zone, how], columns)


@dataclass(frozen=True)
class Weeks:
    """Counts by week, so that a row's profile can be learned from the weeks that it is not in."""

    whole: Totals
    by_week: dict[int, Totals]

    @classmethod
    def of(cls, zone: np.ndarray, how: np.ndarray, counts: Columns, zones: int, at_us: np.ndarray) -> "Weeks":
        """From rows, as `Totals.of`; `at_us` are their hours' starts."""
        week = at_us // WEEK_US
        by_week = {}
        for number in np.unique(week):
            mine = np.flatnonzero(week == number)
            some = {name: values[mine] for name, values in counts.items()}
            by_week[int(number)] = Totals.of(zone[mine], how[mine], some, zones, at_us[mine])
        return cls(Totals.of(zone, how, counts, zones, at_us), by_week)

    def profile_of(self, zone: np.ndarray, how: np.ndarray, at_us: np.ndarray) -> Columns:
        """The profile of each row as the other weeks have it, (rows,) each: its own count is in none of its inputs."""
        week, found = at_us // WEEK_US, dict[str, np.ndarray]()
        for number in np.unique(week):
            mine = np.flatnonzero(week == number)
            others = self.whole.without(self.by_week[int(number)])
            for name, values in others.profile().items():
                found.setdefault(name, np.empty(len(zone)))[mine] = values[zone[mine], how[mine]]
        return found


def _by_day_type(values: np.ndarray) -> np.ndarray:
    """Added up over the days of the same type, at each hour: (zones, WEEK)."""
    by_day = values.reshape(len(values), 7, 24)
    added = np.zeros((len(values), _DAY_TYPES.max() + 1, 24))
    for day, kind in enumerate(_DAY_TYPES):
        added[:, kind] += by_day[:, day]
    return added[:, _DAY_TYPES].reshape(values.shape)


def _before(usual: np.ndarray, back: int) -> np.ndarray:
    """What is usual over the `back` hours before each hour of the week."""
    return np.sum([np.roll(usual, hour, axis=1) for hour in range(1, back + 1)], axis=0)
