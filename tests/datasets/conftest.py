"""Shared pieces of the dataset tests: a workspace, and small hand-made trips in either schema."""

import os
from pathlib import Path

import pandas as pd
import pytest

from bottega.settings import Settings
from bottega.workspace import Workspace

OFFICIAL = {
    "pickup_at": "lpep_pickup_datetime",
    "dropoff_at": "lpep_dropoff_datetime",
    "pu_zone": "PULocationID",
    "do_zone": "DOLocationID",
    "distance_mi": "trip_distance",
    "fare_usd": "fare_amount",
    "rate_code": "RatecodeID",
    "passengers": "passenger_count",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def trips() -> pd.DataFrame:
    """Four sound trips of January 2023, in the trimmed schema."""
    return pd.DataFrame(
        {
            "pickup_at": pd.to_datetime(
                ["2023-01-03 08:00:00", "2023-01-03 09:30:00", "2023-01-10 18:00:00", "2023-01-31 23:50:00"]
            ).astype("datetime64[us]"),
            "dropoff_at": pd.to_datetime(
                ["2023-01-03 08:12:00", "2023-01-03 09:55:30", "2023-01-10 18:07:00", "2023-02-01 00:10:00"]
            ).astype("datetime64[us]"),
            "pu_zone": [74, 75, 41, 166],
            "do_zone": [166, 236, 42, 74],
            "distance_mi": [2.1, 4.4, 1.0, 3.3],
            "fare_usd": [12.1, 24.0, 8.6, 17.0],
            "rate_code": [1.0, 1.0, None, 5.0],
            "passengers": [1.0, 2.0, None, 1.0],
        }
    )


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("BOTTEGA_DATA")
    if not folder:
        pytest.skip("needs real trips: set BOTTEGA_DATA")
    return Path(folder)
