"""The alarm on real trips: silent where the error barely moves, early where the world changes."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from bottega.datasets.trips import load_trips
from bottega.datasets.zones import load_zones
from bottega.monitoring.advice import recent_span
from bottega.monitoring.detection import Detections, detect
from bottega.monitoring.drift import drift_report, psi
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.monitoring.quality import quality
from bottega.monitoring.reference import Normal, take_reference
from bottega.settings import Settings
from bottega.times import parse_time
from bottega.workspace import Workspace

CITY = "America/New_York"
MONITOR = Monitor(
    "predicted",
    columns=(
        WatchedColumn("pu_zone", "categorical"),
        WatchedColumn("do_zone", "categorical"),
        WatchedColumn("at", "numerical"),
        WatchedColumn("predicted", "numerical"),
    ),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder with real trips"),
]


def day(text: str) -> datetime:
    return parse_time(text, CITY)


@pytest.fixture(scope="module")
def trips(tmp_path_factory):
    """Load a span of the real trips."""
    workspace = Workspace.open(tmp_path_factory.mktemp("real") / "workspace")
    zones = load_zones(Path(os.environ["BOTTEGA_DATA"]) / "taxi_zones").set_index("zone")

    def load(since: datetime, until: datetime) -> pd.DataFrame:
        source = Path(os.environ["BOTTEGA_DATA"]) / "tlc_green_trips"
        table = load_trips(source, workspace, Settings(), since, until).table
        table = table.rename(columns={"pickup_at": "at", "dropoff_at": "label_at", "duration_min": "actual"})
        places = {
            f"{end}_{axis}": table[f"{end}_zone"].map(zones[axis]) for end in ("pu", "do") for axis in ("lat", "lon")
        }
        return table.assign(**places, low=np.nan, high=np.nan, model_version=1)

    return load


class Model:
    """Out-of-fold mean log duration of the zone pair, and boosted trees on what is left of it."""

    def __init__(self, trips: pd.DataFrame, seed: int = 0) -> None:
        self.trips = trips.assign(log=np.log(trips["actual"]))
        fold = np.random.default_rng(seed).integers(0, 5, len(trips))
        encoded = np.zeros(len(trips))
        for number in range(5):
            encoded[fold == number] = _encode(self.trips[fold != number], trips[fold == number])
        target = self.trips["log"].to_numpy() - encoded
        data = xgb.DMatrix(_features(trips, encoded), target, weight=np.exp(encoded))
        parameters = {"objective": "reg:pseudohubererror", "huber_slope": 0.3, "base_score": 0.0, "max_depth": 6}
        parameters |= {"eta": 0.1, "lambda": 50, "min_child_weight": 100, "nthread": 2}
        self.trees = xgb.train(parameters, data, 150)

    def __call__(self, trips: pd.DataFrame) -> pd.DataFrame:
        encoded = _encode(self.trips, trips)
        log = encoded + self.trees.predict(xgb.DMatrix(_features(trips, encoded)))
        return trips.assign(predicted=np.exp(log))


def _encode(known: pd.DataFrame, trips: pd.DataFrame) -> np.ndarray:
    overall = known["log"].mean()
    prior = np.full(len(trips), overall)
    for zone in ("pu_zone", "do_zone"):
        sums = known.groupby(zone)["log"].agg(["sum", "size"]).reindex(trips[zone]).fillna(0).to_numpy()
        prior += (sums[:, 0] + 20 * overall) / (sums[:, 1] + 20) - overall
    pairs = known.groupby(["pu_zone", "do_zone"])["log"].agg(["sum", "size"])
    asked = pd.MultiIndex.from_frame(trips[["pu_zone", "do_zone"]])
    sums = pairs.reindex(asked).fillna(0).to_numpy()
    return (sums[:, 0] + 10 * prior) / (sums[:, 1] + 10)


def _features(trips: pd.DataFrame, encoded: np.ndarray) -> np.ndarray:
    local = trips["at"].dt.tz_convert(CITY)
    hour = local.dt.hour + local.dt.minute / 60
    north_km = 111.2 * (trips["do_lat"] - trips["pu_lat"])
    east_km = 84.3 * (trips["do_lon"] - trips["pu_lon"])  # at New York's latitude
    zones = [trips[name] for name in ("pu_zone", "do_zone", "pu_lat", "pu_lon", "do_lat", "do_lon")]
    columns = [encoded, *zones, np.hypot(north_km, east_km), hour, local.dt.dayofweek]
    return np.column_stack(columns).astype(np.float32)  # (rows, features)


@dataclass(frozen=True)
class Replay:
    normal: Normal
    trained_on: pd.DataFrame
    answered: pd.DataFrame
    found: Detections


def replay(
    trips, since: str | datetime, cut: str | datetime, until: str, held_days: float, start: str | None = None
) -> Replay:
    """Train on [since, cut), take the reference on its newest days, answer the trips of [start or cut, until)."""
    begin = since if isinstance(since, datetime) else day(since)
    end = cut if isinstance(cut, datetime) else day(cut)
    span, held_at = trips(begin, end), end - timedelta(days=held_days)
    held = Model(span[span["label_at"] < held_at])(span[span["at"] >= held_at])
    model = Model(span)
    fitted = model(span)
    normal = take_reference(held, MONITOR, 1, rows=fitted).normal
    answered = model(trips(end if start is None else day(start), day(until)))
    answered = answered[answered["label_at"] < day(until)]
    return Replay(normal, fitted, answered, detect(answered, normal, MONITOR))


def mae(answered: pd.DataFrame) -> float:
    return float((answered["actual"] - answered["predicted"]).abs().mean())


def highest_sum(replayed: Replay) -> float:
    return float(replayed.found.series[["above", "below"]].to_numpy().max() / MONITOR.threshold)


def test_a_year_later_the_error_barely_moves_and_nobody_is_woken(trips):
    year = replay(trips, "2023-01-01", "2023-03-01", "2024-02-01", held_days=7, start="2024-01-01")
    assert year.found.alarm is None and year.found.day is None
    assert mae(year.answered) < 1.1 * year.normal.mae
    assert highest_sum(year) < 0.9


@pytest.mark.parametrize(
    ("since", "cut", "until", "held_days"),
    [
        ("2020-07-01", "2020-07-11", "2020-08-01", 3),
        ("2020-10-01", "2020-10-22", "2020-11-01", 7),
        ("2021-01-01", "2021-01-11", "2021-02-01", 3),
        ("2023-01-01", "2023-01-11", "2023-03-01", 3),
        ("2020-03-24", "2020-04-07", "2020-05-01", 4),
    ],
)
def test_quiet_spans_after_a_short_training_are_quiet(trips, since, cut, until, held_days):
    assert highest_sum(replay(trips, since, cut, until, held_days)) < 0.9


@pytest.fixture(scope="module")
def shock(trips) -> Replay:
    return replay(trips, "2020-03-01", "2020-03-11", "2020-05-01", held_days=3)


def test_the_lockdown_is_noticed_within_days(shock):
    alarm = shock.found.alarm
    assert alarm is not None and alarm.direction == "below"
    assert day("2020-03-13") <= alarm.at < day("2020-03-18")
    assert day("2020-03-12") <= alarm.change_at < day("2020-03-17")
    after = shock.answered[shock.answered["at"] >= day("2020-03-22")]
    assert mae(after) > 1.35 * shock.normal.mae


def test_marginal_drift_comes_a_week_later_or_never(shock, tmp_path):
    """At the alarm no watched column has drifted, and the labels' own PSI never gets there."""

    def week_to(end: datetime) -> pd.DataFrame:
        at = shock.answered["at"]
        return shock.answered[(at >= end - timedelta(days=7)) & (at < end)]

    assert drift_report(shock.trained_on, week_to(day("2020-03-18")), MONITOR, tmp_path).verdict == "no drift"
    assert drift_report(shock.trained_on, week_to(day("2020-04-08")), MONITOR, tmp_path).verdict == "drift"
    for end in ("2020-03-18", "2020-03-25", "2020-04-08", "2020-04-29"):
        assert psi(shock.trained_on["actual"], week_to(day(end))["actual"], "numerical") < 0.1


def test_retraining_on_the_advised_span_recovers(trips, shock):
    """The loop of alarm, advice and retraining ends quiet, and the model that came out of it is better."""
    answered, replayed = [], shock
    for _ in range(4):
        alarm = replayed.found.alarm
        if alarm is None:
            break
        hourly = quality(replayed.answered, "hour", CITY)
        until = alarm.at
        while not (span := recent_span(hourly, alarm, MONITOR, until)).ready:
            until += timedelta(hours=1)
        answered.append(replayed.answered[replayed.answered["at"] < until])
        replayed = replay(trips, span.since, until, "2020-05-01", held_days=1)
        again = replayed.found.alarm
        assert again is None or again.at - until > timedelta(days=2)
    assert replayed.found.alarm is None
    looped = pd.concat([*answered, replayed.answered])
    april = day("2020-04-01")
    kept, renewed = (table[table["at"] >= april] for table in (shock.answered, looped))
    assert mae(renewed) < 0.8 * mae(kept)
