import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.training.examples import make_examples


def test_a_feature_knows_only_trips_that_had_ended(recipe, sources, span):
    examples = make_examples(recipe, sources, *span)
    trips = sources["trips"]
    ended = trips["dropoff_at"].astype("int64").to_numpy()
    tile = 300_000_000
    for row in range(200, 5000, 700):
        now = examples.at_us[row] // tile * tile
        known = (ended // tile * tile + tile <= now) & (ended >= now - 3_600_000_000)
        mine = trips[known & (trips["pu_zone"].to_numpy() == examples.request["pu_zone"][row])]
        if len(mine):
            assert examples.given["pu_speed_1h"][row] == pytest.approx(mine["speed_kmh"].mean(), abs=0.001)
        else:
            assert np.isnan(examples.given["pu_speed_1h"][row])


def test_a_trips_own_outcome_never_reaches_its_features(recipe, sources, span):
    planted = sources["trips"].copy()
    planted.loc[3000, "speed_kmh"] = 900.0
    before = make_examples(recipe, sources, *span)
    after = make_examples(recipe, {**sources, "trips": planted}, *span)
    assert all(
        np.array_equal(before.given[name][3000], after.given[name][3000], equal_nan=True) for name in before.given
    )
    later = slice(3001, 3600)
    assert any(not np.array_equal(before.given[n][later], after.given[n][later], equal_nan=True) for n in before.given)


def test_history_before_the_span_serves_features_but_gives_no_rows(recipe, sources, span):
    since = span[0] + 2 * 86_400_000_000
    examples = make_examples(recipe, sources, since, span[1])
    assert examples.at_us.min() >= since
    alone = make_examples(recipe, {**sources, "trips": sources["trips"].iloc[-len(examples) :]}, since, span[1])
    assert np.isnan(alone.given["pu_speed_1h"][:5]).all()
    assert np.isfinite(examples.given["pu_speed_1h"][:5]).any()


def test_slices_and_requests_have_a_value_each_row(recipe, sources, span):
    examples = make_examples(recipe, sources, *span)
    assert set(examples.slices) == {"borough", "hour", "distance", "month"}
    assert {len(v) for v in (*examples.slices.values(), *examples.request.values())} == {len(examples)}
    moments = pd.to_datetime(examples.at_us[:50], unit="us", utc=True).tz_convert("America/New_York")
    assert examples.slices["hour"][:50].tolist() == [f"{m.hour:02d}" for m in moments]
    assert (examples.slices["distance"] == "unknown").sum() == (
        (examples.request["pu_zone"] == 12) | (examples.request["do_zone"] == 12)
    ).sum()


def test_an_empty_span_is_refused(recipe, sources, span):
    with pytest.raises(InvalidInput, match="no trip"):
        make_examples(recipe, sources, span[1] + 1, span[1] + 2)
