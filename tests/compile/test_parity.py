"""Parity: what counts as the same answer, and the rows it is asked on."""

import numpy as np
import pytest

from bottega.compile.parity import probes, relative_error, require
from bottega.errors import IntegrityError


def test_relative_to_the_reference_and_near_zero_to_the_typical() -> None:
    reference = np.array([100.0, -100.0, 0.0])
    assert relative_error(reference, reference) == 0.0
    assert relative_error(reference * 1.001, reference) == pytest.approx(1e-3)
    typical = np.sqrt((reference**2).mean())
    assert relative_error(np.array([100.0, -100.0, 0.1]), reference) == pytest.approx(0.1 / typical)


def test_each_output_has_a_scale_of_its_own() -> None:
    reference = np.array([[1e6, 1.0], [-1e6, -1.0]])
    assert relative_error(np.array([[1e6, 1.01], [-1e6, -1.0]]), reference) == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_missing_and_infinite_answers_are_never_near(wrong: float) -> None:
    assert relative_error(np.array([1.0, wrong]), np.array([1.0, 2.0])) == np.inf
    assert relative_error(np.array([1.0, 2.0]), np.array([1.0, wrong])) == np.inf
    assert relative_error(np.array([1.0, wrong]), np.array([1.0, wrong])) == 0.0


def test_another_shape_is_never_near() -> None:
    assert relative_error(np.zeros((2, 1)), np.zeros(2)) == np.inf


def test_require() -> None:
    require("The model", 1e-6, 1e-5)
    for error in (2e-5, np.inf, np.nan):
        with pytest.raises(IntegrityError, match="not written"):
            require("The model", error, 1e-5)


def test_probes_keep_whole_numbers_whole_and_cover_what_is_missing() -> None:
    random = np.random.default_rng(0)
    real = np.stack([random.integers(1, 260, 200), random.normal(size=200), random.normal(size=200)], 1)
    real = real.astype(np.float32)
    real[::10, 2] = np.nan
    made = probes(real, 2000, seed=1, missing_anywhere=False)
    assert made.dtype == np.float32
    assert set(made[:, 0]) <= set(real[:, 0])
    assert not np.isnan(made[:, :2]).any()
    assert 0.02 < np.isnan(made[:, 2]).mean() < 0.1
    assert len(set(made[:, 1])) > 900
    assert np.isnan(probes(real, 2000, seed=1, missing_anywhere=True)).any(0).all()
    np.testing.assert_array_equal(made, probes(real, 2000, seed=1, missing_anywhere=False))
