import numpy as np
import pytest

from bottega.ranking.fusion import best_first, fuse


def test_a_thing_that_both_rankings_hold_comes_before_one_that_leads_a_single_one():
    scores = fuse([np.array([0, 1]), np.array([2, 1])], [1.0, 1.0], 4)
    assert scores.tolist() == pytest.approx([1 / 61, 2 / 62, 1 / 61, 0])
    assert best_first(scores).tolist() == [1, 0, 2]


def test_weights_and_the_constant_count():
    scores = fuse([np.array([0]), np.array([1])], [1.0, 0.5], 2, constant=10)
    assert scores.tolist() == pytest.approx([1 / 11, 0.5 / 11])


def test_best_first_leaves_out_what_is_not_above():
    assert best_first(np.array([0.2, 0.9, 0.3]), above=0.25).tolist() == [1, 2]
