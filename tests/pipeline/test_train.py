import msgspec
import numpy as np
import pytest

from bottega.datasets.trip_sources import LONGEST_TRIP
from bottega.errors import GateFailed, InvalidInput, NotFound
from bottega.monitoring.reference import load_reference
from bottega.pipeline.evaluate import evaluate
from bottega.pipeline.release import compile_version, deploy_version
from bottega.pipeline.sources import gather, history_of
from bottega.pipeline.train import Options, TrainReport, train
from bottega.registry import Registry
from bottega.serving import deployment
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace


def day(text):
    return parse_time(text, CITY_TIMEZONE)


def test_training_leaves_a_champion_that_knows_where_it_came_from(live, usecase):
    champion = Registry(live).get("eta@champion")
    assert champion.metrics["mae_min"] < champion.metrics["baseline_mae_min"]
    assert champion.tags["data_source"] == "simulator:city_simulator"
    assert load_reference(live, "eta", champion.version).normal.mae == pytest.approx(champion.metrics["mae_min"])


def test_the_history_of_the_first_rows_reaches_back_before_the_span(usecase, settings, live):
    since, until = day("2024-02-25"), day("2024-02-26")
    gathered = gather(usecase, live, settings, since, until)
    pickups = gathered.sources["trips"]["pickup_at"]
    assert since - history_of(usecase) - LONGEST_TRIP <= pickups.min() < since
    assert gathered.rows == (pickups >= since).sum()


def test_evaluate_counts_rows_and_scores_the_champion(live, usecase, settings):
    found = evaluate(usecase, live, settings, since=day("2024-03-06"), until=day("2024-03-08"))
    gathered = gather(usecase, live, settings, day("2024-03-06"), day("2024-03-08"))
    assert (found.rows, found.rows_rejected) == (gathered.rows, gathered.rejected)
    assert found.metrics["mae_min"] < found.metrics["baseline_mae_min"]
    assert 0.7 < found.metrics["coverage_80"] < 0.9
    assert {slice.slice for slice in found.slices} == {"borough", "month", "hour", "distance"}
    assert found.metrics["mae_min"] < found.metrics["router_mae_min"]
    assert found.least_covered[0].coverage == min(slice.coverage for slice in found.slices)


@pytest.mark.parametrize("named", ["", "tlc_green_trips", "tlc_green_trips/trips_2024-03.parquet"])
def test_a_folder_or_file_scores_as_the_dataset_that_it_was_taken_from(live, usecase, settings, tmp_path, named):
    trips = gather(usecase, live, settings, day("2024-03-06"), day("2024-03-07")).sources["trips"]
    trips = trips[trips["pickup_at"] >= day("2024-03-06")]
    local = {c: trips[c].dt.tz_convert(CITY_TIMEZONE).dt.tz_localize(None) for c in ("pickup_at", "dropoff_at")}
    columns = ["pu_zone", "do_zone", "distance_mi", "fare_usd", "rate_code", "passengers"]
    folder = tmp_path / "tlc_green_trips"
    folder.mkdir()
    trips[columns].assign(**local).to_parquet(folder / "trips_2024-03.parquet", index=False)
    from_file = evaluate(usecase, live, settings, data=tmp_path / named)
    from_dataset = evaluate(usecase, live, settings, since=day("2024-03-06"), until=day("2024-03-07"))
    assert from_file.rows == from_dataset.rows
    assert from_file.metrics == pytest.approx(from_dataset.metrics)


def test_what_was_compiled_once_is_read_again(live):
    manifest = compile_version(live, "eta@champion")
    assert compile_version(live, "eta@champion") == manifest
    assert manifest.parity.max_rel_error <= 1e-5


def test_a_version_that_is_not_compiled_is_not_deployed(usecase, settings, tmp_path):
    workspace = Workspace.open(tmp_path)
    train(usecase, workspace, settings, day("2024-02-25"), day("2024-03-06"), Options(threads=1, quick=True))
    with pytest.raises(NotFound, match=r"not compiled.*bottega compile eta/1"):
        deploy_version(workspace, "eta", "test")
    assert deployment.read(workspace).live == {}


def test_without_a_champion_the_next_step_is_named(tmp_path, usecase, settings):
    with pytest.raises(NotFound, match="bottega train eta"):
        evaluate(usecase, Workspace.open(tmp_path), settings)


def test_a_span_outside_the_data_is_refused(tmp_path, usecase, settings):
    with pytest.raises(InvalidInput, match="has data from 2024-01-01"):
        train(usecase, Workspace.open(tmp_path), settings, day("2010-01-01"), day("2010-02-01"))


def test_the_gate_keeps_the_champion_where_the_candidate_is_worse(live, usecase, settings, tmp_path):
    workspace = Workspace.open(tmp_path)
    good = train(usecase, workspace, settings, day("2024-02-15"), day("2024-03-06"), Options(threads=1))
    with pytest.raises(GateFailed, match="The promotion gate stays closed"):
        train(usecase, workspace, settings, day("2024-03-03"), day("2024-03-08"), Options(threads=1))
    registry = Registry(workspace)
    assert registry.get("eta@champion").version == good.model_version
    assert registry.get("eta@challenger").version != good.model_version


def test_the_report_round_trips_as_json(live, usecase, settings, tmp_path):
    workspace = Workspace.open(tmp_path)
    found = train(usecase, workspace, settings, day("2024-02-25"), day("2024-03-06"), Options(threads=1))
    content = msgspec.json.encode(found)
    assert msgspec.json.decode(content, type=TrainReport) == found
    assert {"from", "until", "rows"} <= msgspec.json.decode(content).keys()
    same = Registry(live).get("eta@champion").metrics
    assert found.metrics == pytest.approx(same), "the same seed and data give the same figures"
    assert np.isfinite(list(found.metrics.values())).all()
