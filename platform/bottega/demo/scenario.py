"""Scenarios: which span the demo trains on, which it replays, and what is known to happen there."""

from dataclasses import dataclass
from datetime import datetime

from bottega.datasets.incidents import DEFAULT_INCIDENTS, Lockdown
from bottega.datasets.origin import Origin
from bottega.errors import InvalidInput
from bottega.times import CITY_TIMEZONE, parse_time


@dataclass(frozen=True)
class Scenario:
    """One story. Days are the city's local ones, ends exclusive; `incident_from` is None where nothing happens."""

    name: str
    dataset: str
    train_from: str
    train_until: str
    replay_from: str
    replay_until: str
    incident: str | None = None
    incident_from: str | None = None

    def moment(self, day: str) -> datetime:
        """The UTC moment at which a local day of the city begins."""
        return parse_time(day, CITY_TIMEZONE)

    @property
    def incident_at(self) -> datetime | None:
        """When the incident truly begins (UTC)."""
        return None if self.incident_from is None else self.moment(self.incident_from)


_LOCKDOWN = next(incident for incident in DEFAULT_INCIDENTS if isinstance(incident, Lockdown))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        # The invented city: four weeks to learn from, a quiet one, then its lockdown.
        Scenario(
            "simulator",
            "city_simulator",
            "2024-02-07",
            "2024-03-06",
            "2024-03-06",
            "2024-04-03",
            _LOCKDOWN.name,
            _LOCKDOWN.start.isoformat(),
        ),
        # Real trips, a year later: the error barely moves, and no alarm is wanted.
        Scenario("stable", "tlc_green_trips", "2023-01-01", "2023-03-01", "2024-01-01", "2024-02-01"),
        # Real trips of March 2020; the national emergency of 13 March counts as the start.
        Scenario(
            "shock",
            "tlc_green_trips",
            "2020-03-01",
            "2020-03-11",
            "2020-03-11",
            "2020-05-01",
            "lockdown",
            "2020-03-13",
        ),
    )
}


def choose(name: str | None, origin: Origin) -> Scenario:
    """The scenario of that name; without one, `shock` where real trips are at hand, else `simulator`.

    Raises InvalidInput for an unknown name, and for a scenario of real trips where there are none.
    """
    chosen = name or ("simulator" if origin.kind == "simulator" else "shock")
    if chosen not in SCENARIOS:
        raise InvalidInput(f"There is no scenario {chosen!r}.", next_step=f"Scenarios are {', '.join(SCENARIOS)}.")
    scenario = SCENARIOS[chosen]
    if scenario.dataset == "tlc_green_trips" and origin.kind == "simulator":
        raise InvalidInput(
            f"The scenario {chosen!r} needs real trips, and none are here.",
            next_step="Fetch them with 'bottega data get tlc_green_trips', or name a folder with BOTTEGA_DATA.",
        )
    return scenario
