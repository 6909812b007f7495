"""Datasets resolve in one order: workspace, BOTTEGA_DATA, simulator."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from bottega.datasets.origin import Origin, resolve, zones_for
from bottega.datasets.trips import load_trips
from bottega.errors import NotFound
from bottega.settings import Settings
from bottega.workspace import Workspace


def test_the_order_is_workspace_then_bottega_data_then_simulator(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    settings = Settings(data=data)
    assert resolve("tlc_green_trips", workspace, settings).kind == "simulator"
    for kind, folder in (("BOTTEGA_DATA", data), ("workspace", workspace.data)):
        (folder / "tlc_green_trips").mkdir(parents=True)
        trips.to_parquet(folder / "tlc_green_trips" / "green_2023-01.parquet")
        found = resolve("tlc_green_trips", workspace, settings)
        assert found == Origin(kind, folder / "tlc_green_trips")
        assert load_trips(found, workspace, settings).data_source == f"{kind}:tlc_green_trips"


def test_unfinished_downloads_are_no_data(workspace: Workspace, settings: Settings) -> None:
    folder = workspace.data / "tlc_green_trips"
    folder.mkdir(parents=True)
    (folder / ".green_tripdata_2023-01.parquet.part").write_bytes(b"PAR1")
    assert resolve("tlc_green_trips", workspace, settings).kind == "simulator"


def test_simulated_files_are_never_taken_for_downloads(workspace: Workspace, settings: Settings) -> None:
    origin = resolve("tlc_green_trips", workspace, settings)
    since, until = datetime(2024, 2, 1, 5, tzinfo=UTC), datetime(2024, 2, 2, 5, tzinfo=UTC)
    first = load_trips(origin, workspace, settings, since, until)
    assert Path(first.files[0]).is_file()
    assert resolve("tlc_green_trips", workspace, settings) == origin
    assert first.data_source == "simulator:city_simulator"


def test_a_bottega_data_that_does_not_exist_is_an_error(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"BOTTEGA_DATA names .*nowhere, which is no folder"):
        resolve("tlc_green_trips", workspace, Settings(data=tmp_path / "nowhere"))


def test_real_trips_never_get_the_invented_zones(workspace: Workspace, settings: Settings, tmp_path: Path) -> None:
    assert zones_for(Origin("simulator"), workspace, settings).kind == "simulator"
    for trips in (Origin("workspace", tmp_path), tmp_path):
        with pytest.raises(NotFound, match=r"bottega data get taxi_zones"):
            zones_for(trips, workspace, settings)
