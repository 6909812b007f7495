"""Incidents of the simulated city, with their truth, so that a detector's alarm can be scored."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.times import CITY_TIMEZONE, DAY_US, to_epoch_us


class Lockdown(msgspec.Struct, frozen=True, tag="lockdown", tag_field="incident"):
    """People stay at home: requests fall to `demand_factor`, roads empty, speeds rise to `speed_factor`.

    Both factors move in a straight line from 1 over the first `ramp_days`, and return to 1 at `end` at once.
    """

    start: date
    end: date
    ramp_days: float = 3.0
    demand_factor: float = 0.2
    speed_factor: float = 1.5
    name: str = "lockdown"


class FareBug(msgspec.Struct, frozen=True, tag="fare_bug", tag_field="incident"):
    """A release bills a `share` of the trips `fare_factor` times their fare, at random."""

    start: date
    end: date
    share: float = 0.1
    fare_factor: float = 2.0
    name: str = "fare_bug"


Incident = Lockdown | FareBug

DEFAULT_INCIDENTS: tuple[Incident, ...] = (
    Lockdown(date(2024, 3, 13), date(2024, 5, 1)),
    FareBug(date(2024, 6, 3), date(2024, 6, 10)),
)


class Simulation(msgspec.Struct, frozen=True):
    """Which life the city leads: equal simulations give equal trips, whatever span is asked for."""

    seed: int = 7
    trips_per_day: float = 2850.0
    incidents: tuple[Incident, ...] = DEFAULT_INCIDENTS

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InvalidInput(f"seed is {self.seed}; it must be at least 0.")
        if not 0 < self.trips_per_day <= 1_000_000:
            raise InvalidInput(f"trips_per_day is {self.trips_per_day:g}; it must be above 0 and at most 1,000,000.")
        for incident in self.incidents:
            if incident.start >= incident.end:
                raise InvalidInput(f"{incident.name} ends at {incident.end}; it must end after {incident.start}.")


@dataclass(frozen=True)
class IncidentTruth:
    """What an incident truly was: from `start` until `end` (UTC, end excluded), how strong, which trips it touched."""

    name: str
    start: datetime
    end: datetime
    parameters: dict[str, float]
    trip_ids: np.ndarray  # (n,) int64, as in the loaded trips; sorted


def local_midnight(day: date) -> datetime:
    """The moment (UTC) at which the city's day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(CITY_TIMEZONE)).astimezone(UTC)


def bounds_us(incident: Incident) -> tuple[int, int]:
    """First moment of an incident and the first after it, in epoch microseconds."""
    return to_epoch_us(local_midnight(incident.start)), to_epoch_us(local_midnight(incident.end))


def is_active(incident: Incident, at_us: np.ndarray) -> np.ndarray:
    """Whether the incident holds at these moments: (n,) int64 epoch microseconds to (n,) bool."""
    start, end = bounds_us(incident)
    return (at_us >= start) & (at_us < end)


def demand_factor(incidents: tuple[Incident, ...], at_us: np.ndarray) -> np.ndarray:
    """What the incidents leave of the requests at these moments, (n,) float64, 1 in normal times."""
    return _factor(incidents, at_us, "demand_factor")


def speed_factor(incidents: tuple[Incident, ...], at_us: np.ndarray) -> np.ndarray:
    """By how much the incidents speed up traffic at these moments, (n,) float64, 1 in normal times."""
    return _factor(incidents, at_us, "speed_factor")


def _factor(incidents: tuple[Incident, ...], at_us: np.ndarray, name: str) -> np.ndarray:
    factor = np.ones(len(at_us))
    for incident in incidents:
        if isinstance(incident, Lockdown):
            start, _ = bounds_us(incident)
            ramp = np.clip((at_us - start) / max(incident.ramp_days * DAY_US, 1), 0, 1)
            factor *= np.where(is_active(incident, at_us), 1 + ramp * (getattr(incident, name) - 1), 1.0)
    return factor


def parameters(incident: Incident) -> dict[str, float]:
    """An incident's declared strength, by parameter name."""
    fields = msgspec.structs.asdict(incident)
    return {name: float(value) for name, value in fields.items() if isinstance(value, int | float)}
