"""Comparison: same contract, and how far answers are apart."""

import numpy as np
import pytest

from bottega.errors import Conflict
from bottega.features.plan import FeaturePlan
from bottega.schema import Field
from bottega.serving.comparison import Differences, check_same_contract, is_finite, numeric

PLAN = FeaturePlan((Field("zone", "INT32"),), (), (Field("eta", "FP32", unit="min"), Field("kind", "BYTES")))


def test_a_version_that_takes_or_gives_something_else_cannot_stand_beside() -> None:
    check_same_contract(PLAN, PLAN)
    with pytest.raises(Conflict, match="its request is not the champion's: rider, zone differs"):
        check_same_contract(PLAN, FeaturePlan((Field("rider", "INT32"),), (), PLAN.answer))
    with pytest.raises(Conflict, match="its answer is not the champion's: eta differs"):
        check_same_contract(PLAN, FeaturePlan(PLAN.request, (), (Field("eta", "FP32", unit="s"), PLAN.answer[1])))


def test_differences_add_up_over_batches() -> None:
    assert numeric(PLAN.answer) == ("eta",)
    rng = np.random.default_rng(3)
    champion, other = rng.normal(size=(2, 70)).astype(np.float32)
    found = Differences()
    for first in range(0, 70, 7):
        part = slice(first, first + 7)
        found.add(("eta",), {"eta": champion[part]}, {"eta": other[part]})
    apart = other.astype(np.float64) - champion
    assert found.rows == 70
    assert found.summary()["eta"] == pytest.approx(
        {"mean": apart.mean(), "mean_absolute": np.abs(apart).mean(), "largest": np.abs(apart).max()}
    )


def test_what_is_no_number_is_found() -> None:
    assert is_finite(("eta",), {"eta": np.array([1.0, 2.0])})
    assert not is_finite(("eta",), {"eta": np.array([1.0, np.nan])})
    assert not is_finite(("eta",), {"eta": np.array([-np.inf])})
