"""Life in the invented city: the same for the same seed, calibrated, with incidents whose truth is known."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.incidents import (
    DEFAULT_INCIDENTS,
    FareBug,
    Lockdown,
    Simulation,
    demand_factor,
    local_midnight,
    speed_factor,
)
from bottega.datasets.origin import Origin
from bottega.datasets.records import RECORD_COLUMNS, incident_truth, simulate_month, simulated_files
from bottega.datasets.simulator import (
    LAST_DAY,
    SIMULATOR_END,
    SIMULATOR_START,
    local_days,
    simulate_day,
    simulate_demand,
)
from bottega.datasets.trips import available_span, load_trips
from bottega.errors import InvalidInput
from bottega.settings import Settings
from bottega.times import DAY_US, to_epoch_us
from bottega.workspace import Workspace

CALM = Simulation(incidents=())
NEW_YORK = ZoneInfo("America/New_York")
QUIET = Simulation(trips_per_day=150.0, incidents=())
ORIGIN = Origin("simulator")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One for the module: its tests share the simulated months."""
    return Workspace.open(tmp_path_factory.mktemp("simulator") / "workspace")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        workspace = Workspace.open(tmp_path / name)
        (file,) = simulated_files(QUIET, workspace, local_midnight(date(2024, 2, 3)), local_midnight(date(2024, 2, 4)))
        contents.append(file.read_bytes())
    assert contents[0] == contents[1]
    other = simulate_day(Simulation(seed=8, incidents=()), date(2024, 2, 3))
    assert not np.array_equal(other.pickup_us, simulate_day(CALM, date(2024, 2, 3)).pickup_us)


def test_spans_agree_on_the_days_they_share(workspace: Workspace, settings: Settings) -> None:
    def load(first: date, last: date) -> pd.DataFrame:
        return load_trips(ORIGIN, workspace, settings, local_midnight(first), local_midnight(last)).table

    long, short = load(date(2024, 1, 30), date(2024, 2, 3)), load(date(2024, 2, 1), date(2024, 2, 2))
    shared = long[(long.pickup_at >= short.pickup_at.min()) & (long.pickup_at <= short.pickup_at.max())]
    pd.testing.assert_frame_equal(shared.reset_index(drop=True), short)
    assert long.trip_id.is_unique


def test_trips_are_read_from_the_cache_by_seed_and_parameters(workspace: Workspace, settings: Settings) -> None:
    since, until = local_midnight(date(2024, 2, 1)), local_midnight(date(2024, 2, 2))
    first = load_trips(ORIGIN, workspace, settings, since, until)
    made = Path(first.files[0]).stat().st_mtime_ns
    again = load_trips(ORIGIN, workspace, settings, since, until)
    assert Path(again.files[0]).stat().st_mtime_ns == made
    assert again.fingerprint == first.fingerprint
    fewer = load_trips(ORIGIN, workspace, settings, since, until, simulation=QUIET)
    assert fewer.files != first.files and len(fewer.table) < 250
    other = load_trips(ORIGIN, workspace, Settings(seed=8), since, until)
    assert other.fingerprint != first.fingerprint


def test_calibration_to_published_figures(workspace: Workspace, settings: Settings) -> None:
    loaded = load_trips(ORIGIN, workspace, settings, *(local_midnight(date(2024, m, 1)) for m in (1, 2)))
    trips = loaded.table
    local = trips.pickup_at.dt.tz_convert(NEW_YORK)
    daily = local.dt.date.value_counts()
    assert daily.min() > 2200 and daily.max() < 3500
    assert 13.0 < trips.duration_min.mean() < 15.0
    assert 2.6 < trips.distance_mi.mean() < 3.1
    mph = trips.speed_kmh / 1.609344
    assert 11.5 < mph.mean() < 13.5
    assert trips.duration_min.quantile(0.99) > 3 * trips.duration_min.mean()  # a long right tail
    by_hour = mph.groupby(local.dt.hour).median()
    assert by_hour[[3, 4, 5]].mean() > 1.35 * by_hour[[16, 17, 18]].mean()
    counts = local.dt.hour.value_counts()
    assert counts.idxmax() in (16, 17, 18) and counts.idxmin() in (3, 4, 5)
    weekend = local.dt.dayofweek >= 5
    rush = local.dt.hour.isin([8, 9])
    assert mph[rush & weekend].median() > 1.15 * mph[rush & ~weekend].median()
    refused = sum(loaded.rejected.values()) / (len(trips) + sum(loaded.rejected.values()))
    assert 0.04 < refused < 0.08
    assert {
        "distance_out_of_range",
        "fare_out_of_range",
        "duration_out_of_range",
        "wrong_month",
        "null_do_zone",
    } <= set(loaded.rejected)


def test_pre_trip_features_explain_more_than_the_pair(workspace: Workspace, settings: Settings) -> None:
    """The hour of the day tells a good part of what the zone pair's median does not."""
    trips = load_trips(ORIGIN, workspace, settings, *(local_midnight(date(2024, m, 1)) for m in (1, 3))).table
    pair = trips.pu_zone * 1000 + trips.do_zone
    counted = pair.map(pair.value_counts()) >= 30
    trips, pair = trips[counted], pair[counted]
    fold = np.arange(len(trips)) % 2 == 0
    median = pair.map(trips[fold].groupby(pair[fold]).duration_min.median())
    local = trips.pickup_at.dt.tz_convert(NEW_YORK)
    hour = local.dt.hour + 24 * (local.dt.dayofweek >= 5)
    ratio = trips.duration_min / median
    with_hour = median * hour.map(ratio[fold].groupby(hour[fold]).median())
    errors = [(trips.duration_min - guess)[~fold].abs().mean() for guess in (median, with_hour)]
    assert errors[1] < 0.93 * errors[0]
    noise = np.log(trips.duration_min / with_hour)[~fold]
    assert 0.22 < noise.std() < 0.36


def test_a_day_across_each_change_of_the_clock() -> None:
    assert len(simulate_day(CALM, date(2024, 3, 10)).slot_us) == 92
    autumn = simulate_day(CALM, date(2024, 11, 3))
    assert len(autumn.slot_us) == 100
    assert autumn.requests.shape == autumn.drivers_online.shape == (100, 262)
    assert (np.diff(autumn.pickup_us) >= 0).all()


def test_records_and_truth_belong_together(workspace: Workspace, settings: Settings) -> None:
    month = simulate_month(CALM, date(2024, 2, 1))
    loaded = load_trips(
        ORIGIN, workspace, settings, *(local_midnight(date(2024, m, 1)) for m in (2, 3)), simulation=CALM
    )
    truth = month.set_index("trip_id").loc[loaded.table.trip_id]
    assert (truth.pickup_us.to_numpy() == loaded.table.pickup_at.astype("int64").to_numpy()).all()
    assert (truth.defect == "").all()
    spoilt = month[month.defect != ""]
    assert not spoilt.trip_id.isin(loaded.table.trip_id).any()
    assert set(month.columns) == {"trip_id", *RECORD_COLUMNS, "pickup_us", "true_fare_usd", "defect", "fare_bug"}


def test_the_factors_of_a_lockdown() -> None:
    lockdown = Lockdown(date(2024, 3, 13), date(2024, 5, 1))
    start = to_epoch_us(local_midnight(date(2024, 3, 13)))
    at = start + np.array([-1, 0, int(1.5 * DAY_US), 3 * DAY_US, 20 * DAY_US, 60 * DAY_US])
    np.testing.assert_allclose(demand_factor((lockdown,), at), [1, 1, 0.6, 0.2, 0.2, 1])
    np.testing.assert_allclose(speed_factor((lockdown,), at), [1, 1, 1.25, 1.5, 1.5, 1])


def test_a_lockdown_thins_trips_and_speeds_them_up_as_declared() -> None:
    day = date(2024, 3, 27)
    calm, locked = simulate_day(CALM, day), simulate_day(Simulation(), day)
    assert locked.requests.sum() / calm.requests.sum() == pytest.approx(0.2, abs=0.02)
    assert (locked.requests <= calm.requests).all()
    both = []
    for life in (calm, locked):
        keys = zip(life.pickup_us.tolist(), life.pickup.tolist(), life.dropoff.tolist(), strict=True)
        both.append(dict(zip(keys, (life.dropoff_us - life.pickup_us) / 60e6, strict=True)))
    shared = both[0].keys() & both[1].keys()
    assert len(shared) > 0.8 * len(both[1])
    np.testing.assert_allclose([both[0][k] / both[1][k] for k in shared], 1.5, atol=0.05)
    before = simulate_day(Simulation(), date(2024, 3, 12))
    assert np.array_equal(before.pickup_us, simulate_day(CALM, date(2024, 3, 12)).pickup_us)
    assert locked.drivers_online.sum() < 0.5 * calm.drivers_online.sum()
    assert locked.slowdown.mean() == pytest.approx(calm.slowdown.mean() / 1.5)


def test_the_truth_of_a_fare_bug() -> None:
    bug = next(incident for incident in DEFAULT_INCIDENTS if isinstance(incident, FareBug))
    truth = incident_truth(Simulation(), bug)
    assert (truth.name, truth.parameters) == ("fare_bug", {"share": 0.1, "fare_factor": 2.0})
    assert truth.start == datetime(2024, 6, 3, 4, tzinfo=UTC) and truth.end == datetime(2024, 6, 10, 4, tzinfo=UTC)
    with_bug, without = (simulate_month(s, date(2024, 6, 1)) for s in (Simulation(), CALM))
    pd.testing.assert_frame_equal(
        with_bug.drop(columns=["fare_usd", "fare_bug"]), without.drop(columns=["fare_usd", "fare_bug"])
    )
    touched = with_bug.trip_id.isin(truth.trip_ids)
    changed = with_bug.fare_usd != without.fare_usd
    assert (changed == touched).all()
    np.testing.assert_allclose(with_bug.fare_usd[touched], 2 * without.fare_usd[touched], atol=0.051)
    active = with_bug.pickup_us.between(*(to_epoch_us(moment) for moment in (truth.start, truth.end)))
    assert touched[active].mean() == pytest.approx(0.1, abs=0.01)
    assert not touched[~active].any()


def test_a_fare_bug_of_other_strength(workspace: Workspace, settings: Settings) -> None:
    bug = FareBug(date(2024, 2, 1), date(2024, 2, 3), share=0.5, fare_factor=3.0)
    chosen = Simulation(incidents=(bug,))
    truth = incident_truth(chosen, bug)
    loaded = load_trips(ORIGIN, workspace, settings, truth.start, truth.end, simulation=chosen)
    assert loaded.table.trip_id.isin(truth.trip_ids).mean() == pytest.approx(0.5, abs=0.03)


def test_demand_and_drivers() -> None:
    since = local_midnight(date(2024, 2, 6)) + timedelta(hours=6)
    table = simulate_demand(CALM, since, since + timedelta(hours=30))
    assert len(table) == 30 * 4 * 262
    assert table.slot_at.min() == since and str(table.slot_at.dtype) == "datetime64[us, UTC]"
    assert (table.completed <= table.requests).all() and (table.drivers_online >= 0).all()
    served = table.completed.sum() / table.requests.sum()
    assert 0.88 < served < 0.98
    busy = table.groupby("slot_at")[["requests", "drivers_online"]].sum()
    assert busy.requests.corr(busy.drivers_online) > 0.8


def test_what_lies_outside_the_year(workspace: Workspace, settings: Settings) -> None:
    assert available_span(ORIGIN, workspace, settings) == (SIMULATOR_START, SIMULATOR_END)
    assert local_days(SIMULATOR_START, SIMULATOR_END)[-1] == LAST_DAY
    with pytest.raises(InvalidInput, match="has no data for 2025-01-01: it has data from 2024-01-01 to 2024-12-31"):
        simulate_day(CALM, date(2025, 1, 1))
    with pytest.raises(InvalidInput, match="has data from 2024-01-01T05:00Z to 2025-01-01T05:00Z"):
        load_trips(ORIGIN, workspace, settings, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC))


def test_simulations_that_cannot_be() -> None:
    with pytest.raises(InvalidInput, match="seed is -1"):
        Simulation(seed=-1)
    with pytest.raises(InvalidInput, match="trips_per_day is 0"):
        Simulation(trips_per_day=0)
    with pytest.raises(InvalidInput, match="lockdown ends at 2024-01-01"):
        Simulation(incidents=(Lockdown(date(2024, 1, 1), date(2024, 1, 1)),))
