import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput, NotFound
from bottega.monitoring.detection import expected_median
from bottega.monitoring.reference import MAX_ROWS, load_reference, save_reference, take_reference


def test_the_reference_is_what_the_held_back_period_shows(outcomes, monitor):
    held = outcomes(72, 200, shift=0.02)
    normal = take_reference(held, monitor, 4).normal
    assert normal.model_version == 4 and normal.labels == len(held)
    assert normal.mean == pytest.approx(0.02, abs=0.01)
    assert normal.sd == pytest.approx(1.2533 * 0.3 / np.sqrt(200), rel=0.3)  # standard error of a normal median
    assert normal.mae == pytest.approx((held["actual"] - held["predicted"]).abs().mean())
    assert normal.coverage == pytest.approx(0.8, abs=0.02)


def test_the_models_own_bias_is_expected_in_full_and_a_drift_of_level_by_half(outcomes, monitor):
    held = outcomes(72, 200, shift=-0.08)
    fitted = outcomes(400, 100, shift=-0.06, seed=2)
    assert expected_median(take_reference(held, monitor, 1).normal) == pytest.approx(-0.04, abs=0.005)
    assert expected_median(take_reference(held, monitor, 1, rows=fitted).normal) == pytest.approx(-0.07, abs=0.005)


def test_a_saved_reference_is_read_back(workspace, outcomes, monitor):
    kept = take_reference(outcomes(48, 60).drop(columns=["low", "high"]), monitor, 2)
    save_reference(workspace, "eta", kept)
    read = load_reference(workspace, "eta", 2)
    assert read.normal == kept.normal and read.normal.coverage is None
    pd.testing.assert_frame_equal(read.rows, kept.rows)
    with pytest.raises(NotFound, match="Version 3 of 'eta'"):
        load_reference(workspace, "eta", 3)


def test_large_tables_are_sampled_by_seed(outcomes, monitor):
    held, fitted = outcomes(48, 60), outcomes(600, 100, seed=2)
    kept = [take_reference(held, monitor, 1, rows=fitted, seed=seed).rows for seed in (1, 1, 2)]
    assert len(kept[0]) == MAX_ROWS
    assert kept[0].equals(kept[1]) and not kept[0].equals(kept[2])


def test_the_watched_answer_may_be_called_predicted(outcomes, monitor):
    held = outcomes(48, 60).drop(columns="eta_min")
    assert take_reference(held, monitor, 1).rows["eta_min"].equals(held["predicted"])


def test_a_request_time_in_microseconds_becomes_a_time(outcomes, monitor):
    held = outcomes(48, 60)
    rows = held.assign(at=held["at"].astype("int64"))
    kept = take_reference(held, monitor, 1, rows=rows).rows
    pd.testing.assert_series_equal(kept["at"], held["at"])


def test_a_period_too_short_is_refused(outcomes, monitor):
    with pytest.raises(InvalidInput, match="needs 6"):
        take_reference(outcomes(4, 60), monitor, 1)
