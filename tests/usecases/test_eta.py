import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.times import to_epoch_us
from bottega.training.evaluate import predict_examples
from bottega.training.examples import make_examples
from usecases import find
from usecases.eta import features, serve, train


def haversine_km(lat1, lon1, lat2, lon2):
    half = [np.radians(b - a) / 2 for a, b in ((lat1, lat2), (lon1, lon2))]
    square = np.sin(half[0]) ** 2 + np.cos(np.radians(lat1)) * np.cos(np.radians(lat2)) * np.sin(half[1]) ** 2
    return 12_742 * np.arcsin(np.sqrt(square))


def test_great_circle_equals_the_haversine_formula():
    rng = np.random.default_rng(0)
    points = (
        rng.uniform(40.4, 41.0, 500),
        rng.uniform(-74.3, -73.6, 500),
        rng.uniform(40.4, 41.0, 500),
        rng.uniform(-74.3, -73.6, 500),
    )
    (found,) = features.great_circle_km(*points)
    np.testing.assert_allclose(found, haversine_km(*points), rtol=1e-12)


def test_heading_is_a_unit_vector_that_points_the_right_way():
    south = np.array([40.7]), np.array([-74.0]), np.array([40.6]), np.array([-74.0])
    east = np.array([40.7]), np.array([-74.0]), np.array([40.7]), np.array([-73.9])
    for points, expected in ((south, (-1, 0)), (east, (0, 1))):
        found = features.heading(*points, *features.great_circle_km(*points))
        assert [float(part[0]) for part in found] == pytest.approx(expected, abs=1e-3)
    same = np.array([40.7]), np.array([-74.0]), np.array([40.7]), np.array([-74.0])
    assert [float(part[0]) for part in features.heading(*same, *features.great_circle_km(*same))] == [0, 0]


def test_minutes_are_the_base_times_the_residual_within_their_limits():
    eta, low, high = serve.minutes(*(np.array([v]) for v in (np.log(10.0), np.log(1.2), np.log(0.5), np.log(2.0))))
    assert [float(v[0]) for v in (eta, low, high)] == pytest.approx([12.0, 6.0, 24.0])


def test_labels_are_requests_at_pickup_known_at_dropoff(sources):
    rows = train.labels(sources)
    trips = sources["trips"]
    assert len(rows) == len(trips)
    moments = pd.to_datetime(rows["at"], unit="us", utc=True)
    assert (moments.to_numpy() == trips["pickup_at"].to_numpy()).all()
    assert (rows["label_at"].to_numpy() == trips["dropoff_at"].to_numpy()).all()
    minutes = (rows["label_at"] - rows["requested_at"]).dt.total_seconds() / 60
    np.testing.assert_allclose(minutes, rows["duration_min"], atol=1e-4)


def test_slices_follow_the_zone_table(sources):
    rows = train.labels(sources).iloc[:500]
    found = train.slices(rows, sources)
    zones = sources["zones"].set_index("zone")
    assert found["borough"].tolist() == zones.loc[rows["pu_zone"], "borough"].tolist()
    points = [zones.loc[rows[key], axis].to_numpy() for key in ("pu_zone", "do_zone") for axis in ("lat", "lon")]
    km = haversine_km(points[0], points[1], points[2], points[3])
    clear = np.abs(km[:, None] - np.array([1, 3, 6, 12])).min(axis=1) > 0.1
    names = np.array(["0 to 1 km", "1 to 3 km", "3 to 6 km", "6 to 12 km", "over 12 km"])
    assert (found["distance"][clear] == names[np.searchsorted([1, 3, 6, 12], km[clear], side="right")]).all()


def test_the_future_changes_no_feature_and_no_answer(run, sources, span):
    """What was answered before noon does not know how the trips of the afternoon went, or that there were any."""
    package, recipe = run("eta").package, find("eta").recipe
    noon = pd.Timestamp((span[0] + span[1]) // 2, unit="us", tz="UTC")
    table = sources["trips"]
    unknown = table["dropoff_at"] > noon
    changed = table.assign(
        speed_kmh=table["speed_kmh"].where(~unknown, 1.0), duration_min=table["duration_min"].where(~unknown, 170.0)
    )
    before = make_examples(recipe, sources, span[0], to_epoch_us(noon.to_pydatetime()))
    expected = predict_examples(package, recipe, before)
    for trips in (changed, table[table["pickup_at"] < noon]):
        again = make_examples(recipe, dict(sources) | {"trips": trips}, span[0], to_epoch_us(noon.to_pydatetime()))
        for name, column in before.given.items():
            np.testing.assert_array_equal(again.given[name], column)
        found = predict_examples(package, recipe, again)
        for name in ("predicted", "low", "high", "router"):
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BOTTEGA_DATA"), reason="needs real trips: set BOTTEGA_DATA")
def test_a_month_of_real_trips_is_learned_as_well_as_it_can_be(tmp_path):
    from bottega.datasets.trips import load_trips
    from bottega.datasets.zones import load_adjacency, load_zones
    from bottega.settings import Settings
    from bottega.times import parse_time
    from bottega.training.evaluate import evaluate_package
    from bottega.training.trainer import Origin
    from bottega.training.trainer import train as fit_models
    from bottega.workspace import Workspace

    folder = Path(os.environ["BOTTEGA_DATA"])
    january, february, march = (
        parse_time(day, "America/New_York") for day in ("2023-01-01", "2023-02-01", "2023-03-01")
    )
    workspace = Workspace.open(tmp_path / "w")
    trips = load_trips(folder / "tlc_green_trips", workspace, Settings(), january, march).table
    neighbours = pd.DataFrame(load_adjacency(folder / "taxi_zones"), columns=["zone_a", "zone_b"])
    sources = {"trips": trips, "zones": load_zones(folder / "taxi_zones"), "neighbours": neighbours}
    recipe = find("eta").recipe
    span = to_epoch_us(january), to_epoch_us(february)
    outcome = fit_models("eta", recipe, sources, *span, Origin("tlc_green_trips", "f"))
    examples = make_examples(recipe, sources, to_epoch_us(february), to_epoch_us(march))
    found = evaluate_package(outcome.package, recipe, examples).metrics
    assert 3.28 < found["mae_min"] < 3.36  # under that, something leaks
    assert found["baseline_mae_min"] == pytest.approx(4.17, abs=0.02)
    assert 0.78 < found["coverage_80"] < 0.82
