"""A small market city, without any data: fewer districts would do, but their number is the market's."""

import numpy as np
import pandas as pd
import pytest

from bottega.market.city import City, build_city


def invented_trips(rows: int = 20_000, seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trips between forty zones on a grid, with a morning and an evening peak, and the zones."""
    rng = np.random.default_rng(seed)
    zones = pd.DataFrame(
        {
            "zone": np.arange(1, 41),
            "lat": 40.70 + 0.008 * (np.arange(40) // 8),
            "lon": -74.00 + 0.010 * (np.arange(40) % 8),
        }
    )
    weight = rng.dirichlet(np.full(40, 2.0))
    hour = np.where(rng.uniform(size=rows) < 0.5, rng.normal(8.5, 2, rows), rng.normal(18, 2.5, rows)) % 24
    day = rng.integers(0, 5, rows)  # from Monday 8 January 2024
    at = pd.Timestamp("2024-01-08", tz="America/New_York") + pd.to_timedelta(24 * day + hour, unit="h")
    pickup = rng.choice(40, rows, p=weight) + 1
    dropoff = rng.choice(40, rows, p=weight) + 1
    trips = pd.DataFrame({"pickup_at": at.tz_convert("UTC"), "pu_zone": pickup, "do_zone": dropoff})
    return trips, zones


@pytest.fixture(scope="session")
def trips_and_zones() -> tuple[pd.DataFrame, pd.DataFrame]:
    return invented_trips()


@pytest.fixture(scope="session")
def city(trips_and_zones: tuple[pd.DataFrame, pd.DataFrame]) -> City:
    trips, zones = trips_and_zones
    return build_city(trips, zones, core=1.0)
