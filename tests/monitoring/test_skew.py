"""Skew: exact differences and distances, told apart."""

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from bottega.monitoring.skew import FirstDifference, Spread, skew


def frames(values: dict[str, list[float]]) -> pd.DataFrame:
    frame = pd.DataFrame(values)
    return frame.set_index(pd.Index([f"r{n}" for n in range(len(frame))], name="request_id"))


def test_equal_values_have_no_mismatch_and_null_equals_null():
    served = frames({"speed": [1.0, np.nan, 3.0]})
    (found,) = skew(served, served, served, ["speed"])
    assert (found.values, found.mismatches, found.first_mismatch, found.distance) == (3, 0, None, None)
    assert found.served == Spread(3, 1 - 2 / 3, 2.0)


def test_the_first_difference_is_named_also_where_one_side_is_null():
    served = frames({"speed": [1.0, np.nan, 3.0], "trips": [0.0, 0.0, 0.0]})
    offline = frames({"speed": [1.0, 2.0, 4.0], "trips": [0.0, 0.0, 0.0]})
    speed, trips = skew(served, offline, offline, ["speed", "trips"])
    assert (speed.mismatches, speed.first_mismatch) == (2, FirstDifference("r1", None, 2.0))
    assert trips.mismatches == 0


def test_drift_of_the_values_is_no_mismatch():
    rng = np.random.default_rng(4)
    trained, served = rng.normal(0, 1, 500), rng.normal(2, 1, 400)
    now = frames({"speed": served.tolist()})
    (found,) = skew(now, now, frames({"speed": trained.tolist()}), ["speed"])
    assert found.mismatches == 0
    assert found.distance == ks_2samp(served, trained, method="asymp").statistic > 0.5


def test_features_that_are_always_null_have_no_mean_and_no_distance():
    nulls = frames({"speed": [np.nan] * 40})
    (found,) = skew(nulls, nulls, nulls, ["speed"])
    assert (found.served, found.distance, found.mismatches) == (Spread(40, 1.0, None), None, 0)
