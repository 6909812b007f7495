import numpy as np
import pytest
from scipy.stats import t

from bottega.datasets.riders import FEATURES, PRODUCTS, draw_moods, draw_requests, draw_riders
from bottega.errors import InvalidInput
from bottega.ranking.bandits import LinUcb
from bottega.ranking.regret import band, compare, draw, play


@pytest.fixture(scope="module")
def curves():
    return compare(4000, [0, 1, 2], logged=1000, riders=500)


def test_those_who_learn_from_context_regret_less_than_rule_and_popularity(curves):
    last = {name: curve[:, -1].mean() for name, curve in curves.items()}
    for learner in ("linucb", "thompson"):
        assert last["informed"] < last[learner] < last["popular"]
    assert last["linucb"] < last["house rule"]


def test_regret_never_falls_and_slows_down_for_a_bandit(curves):
    assert all((np.diff(curve, axis=1) >= 0).all() for curve in curves.values())
    linucb = curves["linucb"].mean(axis=0)
    assert linucb[-1] - linucb[2999] < 0.8 * linucb[999]


def test_the_same_seed_gives_the_same_curves(curves):
    again = compare(4000, [1], logged=1000, riders=500)
    for name, curve in again.items():
        assert (curve[0] == curves[name][1]).all()


class Oracle:
    """Knows the truth of each request, by its first feature column's row number."""

    def __init__(self, truth):
        self._truth, self._at = truth, 0

    def choose(self, features, rng):
        rows = self._truth[self._at : self._at + len(features)]
        self._at += len(features)
        return rows.argmax(axis=1)

    def learn(self, features, offered, taken):
        assert set(np.unique(taken)) <= {0.0, 1.0}


def test_one_who_knows_the_truth_regrets_nothing():
    requests = draw_requests(draw_riders(100, 1), 700, 1)
    course = play(Oracle(requests.truth), requests, draw_moods(700, 1), seed=1)
    assert course.regret[-1] == 0
    assert course.taken.mean() == pytest.approx(requests.best.mean(), abs=0.06)


def test_a_policy_learns_only_from_what_it_offered():
    requests = draw_requests(draw_riders(100, 1), 600, 1)
    policy = LinUcb(len(PRODUCTS), len(FEATURES))
    course = play(policy, requests, draw_moods(600, 1), seed=1)
    counts = policy.precision[:, 0, 0] - 1  # the first feature is 1 in every row
    assert counts == pytest.approx(np.bincount(course.offered, minlength=len(PRODUCTS)))
    assert policy.moment[:, 0] == pytest.approx(np.bincount(course.offered, course.taken, len(PRODUCTS)))


def test_the_band_is_student_s():
    values = np.random.default_rng(0).normal(size=(6, 3))
    _, low, high = band(values)
    expected = t.interval(0.95, 5, values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(6))
    assert (low, high) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    assert band(values[:1])[1] == pytest.approx(values[0])


def test_curves_are_drawn(curves, tmp_path):
    draw(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InvalidInput, match="no picture"):
        draw(curves, tmp_path / "curves.txt")


def test_seeds_are_needed():
    with pytest.raises(InvalidInput, match="no seed"):
        compare(100, [])
