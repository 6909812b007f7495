"""Shared by the training tests: a village of 12 zones whose trip durations follow a known law, and one training run."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.reading import Sources
from bottega.times import DAY_US, to_epoch_us
from bottega.training.outcome import Origin, Outcome
from bottega.training.recipe import ModelSpec
from bottega.training.residual import ResidualRecipe
from bottega.training.settings import BoostingSettings, Effort, NetworkSettings
from bottega.training.trainer import train
from usecases import find

START = pd.Timestamp("2024-03-04T05:00", tz="UTC")  # a Monday's midnight in New York
DAYS = 12
SINCE_US = to_epoch_us(START.to_pydatetime())
UNTIL_US = SINCE_US + DAYS * DAY_US


def make_zones() -> pd.DataFrame:
    """Zones 1 to 12 on a grid of 0.01 degrees; zone 12 has no geometry."""
    zone = np.arange(1, 13)
    lat, lon = 40.7 + 0.01 * (zone // 4), -74.0 + 0.01 * (zone % 4)
    lat[-1] = lon[-1] = np.nan
    return pd.DataFrame(
        {
            "zone": zone.astype(np.int32),
            "borough": np.where(zone <= 6, "West", "East"),
            "zone_name": [f"Zone {z}" for z in zone],
            "lat": lat,
            "lon": lon,
            "area_km2": 1.0,
        }
    )


def make_neighbours() -> pd.DataFrame:
    """The zones of the grid that share a side; zone 12 has none."""
    zone = np.arange(1, 12)
    east, north = zone[(zone % 4 != 3) & (zone < 11)], zone[zone < 8]
    pairs = np.concatenate([np.column_stack([east, east + 1]), np.column_stack([north, north + 4])])
    return pd.DataFrame(pairs.astype(np.int32), columns=["zone_a", "zone_b"])


def make_trips(rows: int, seed: int, slower: float = 1.0, start: pd.Timestamp = START) -> pd.DataFrame:
    """Trips over 12 days: log minutes = distance and hour, and noise of 0.2; `slower` multiplies every duration."""
    rng = np.random.default_rng(seed)
    zones = make_zones().set_index("zone")
    pickup = np.sort(rng.integers(0, DAYS * DAY_US, rows)) // 1_000_000 * 1_000_000
    pu, do = rng.integers(1, 13, rows), rng.integers(1, 13, rows)
    steps = np.hypot(
        *(
            (
                zones[c].fillna(40.72 if c == "lat" else -73.99)[do].to_numpy()
                - zones[c].fillna(40.72 if c == "lat" else -73.99)[pu].to_numpy()
            )
            * 100
            for c in ("lat", "lon")
        )
    )
    hour = pickup // 3_600_000_000 % 24
    log_min = 1.6 + 0.35 * steps + 0.3 * ((hour >= 7) & (hour < 10)) + rng.normal(0, 0.2, rows)
    duration = np.clip(np.exp(log_min) * slower, 1, 180)
    pickup_at = start + pd.to_timedelta(pickup, unit="us")
    return pd.DataFrame(
        {
            "trip_id": np.arange(rows),
            "pickup_at": pickup_at.as_unit("us"),
            "dropoff_at": (pickup_at + pd.to_timedelta((duration * 6e7).astype(np.int64), unit="us")).as_unit("us"),
            "pu_zone": pu.astype(np.int32),
            "do_zone": do.astype(np.int32),
            "distance_mi": 0.7 * steps + 0.3,
            "fare_usd": 3 + duration,
            "duration_min": duration,
            "speed_kmh": (0.7 * steps + 0.3) * 1.609344 / (duration / 60),
        }
    )


@pytest.fixture(scope="session")
def trips() -> Callable[..., pd.DataFrame]:
    return make_trips


@pytest.fixture(scope="session")
def zones() -> pd.DataFrame:
    return make_zones()


@pytest.fixture(scope="session")
def sources(zones: pd.DataFrame) -> Sources:
    return {"trips": make_trips(6000, seed=1), "zones": zones, "neighbours": make_neighbours()}


@pytest.fixture(scope="session")
def span() -> tuple[int, int]:
    return SINCE_US, UNTIL_US


@pytest.fixture(scope="session")
def recipe() -> ResidualRecipe:
    """The ETA recipe with models that learn in a second."""
    eta = find("eta").recipe
    boosting = BoostingSettings(rounds=60, patience=10, depth=4, learning_rate=0.2, min_child_weight=50.0)
    network = NetworkSettings(("pu_zone", "do_zone"), "hour", 24, width=4, buckets=8, hash_size=32, hidden=16, epochs=2)
    return dataclasses.replace(
        eta,
        models=(
            ModelSpec("boosting", eta.models[0].inputs, boosting),
            ModelSpec("deepeta", eta.models[1].inputs, network),
        ),
    )


@pytest.fixture(scope="session")
def run(recipe: ResidualRecipe, sources: Sources) -> Callable[..., Outcome]:
    """Train on the village; keywords replace the defaults."""

    def go(recipe: ResidualRecipe = recipe, sources: Sources = sources, **options: object) -> Outcome:
        settings = {"effort": Effort(seed=3, threads=1)} | options
        return train("eta", recipe, sources, SINCE_US, UNTIL_US, Origin("village", "f1", "abc"), **settings)  # type: ignore[arg-type]

    return go


@pytest.fixture(scope="session")
def outcome(run: Callable[..., Outcome]) -> Outcome:
    return run()
