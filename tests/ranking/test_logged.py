import numpy as np
import pytest

from bottega.datasets.riders import draw_requests, draw_riders
from bottega.errors import InvalidInput
from bottega.ranking.bandits import HouseRule
from bottega.ranking.logged import as_rows, comfort, economy, estimate, green, judge, write_log


@pytest.fixture(scope="module")
def scores():
    return judge(3000, range(12), riders=800)


def test_the_naive_figure_flatters_and_the_weighted_ones_do_not(scores):
    for target in ("economy", "comfort", "green"):
        naive = scores[target]["naive"].bias
        assert naive > 0.03
        for name in ("ips", "snips", "doubly robust"):
            assert abs(scores[target][name].bias) < 0.4 * naive
    assert scores["comfort"]["naive"].bias > 0.15  # logged comfort went to the airport


def test_by_the_naive_figure_comfort_is_near_economy_in_truth_it_is_far_behind(scores):
    def apart(name: str, value: str) -> float:
        return getattr(scores["economy"][name], value) - getattr(scores["comfort"][name], value)

    assert apart("naive", "estimate") < 0.1 < apart("naive", "truth")
    assert apart("doubly robust", "estimate") == pytest.approx(apart("naive", "truth"), abs=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say(scores):
    held = [scores[target][name].coverage for target in scores for name in ("ips", "snips", "doubly robust")]
    assert np.mean(held) > 0.85
    assert scores["green"]["naive"].coverage is None


def test_the_log_s_probabilities_are_those_of_its_offers():
    requests = draw_requests(draw_riders(300, 1), 20_000, 1)
    log = write_log(requests, HouseRule(0.2), seed=1)
    offers = HouseRule(0.2).probabilities(requests.features)
    assert np.bincount(log.offered, minlength=5) / 20_000 == pytest.approx(offers.mean(axis=0), abs=0.01)
    assert log.taken.mean() == pytest.approx(requests.of(log.offered).mean(), abs=0.015)
    assert estimate(log, HouseRule(0.2).probabilities, seed=1)["ips"].value == pytest.approx(log.taken.mean(), abs=0.01)


def test_targets_offer_one_thing_each():
    features = draw_requests(draw_riders(50, 1), 500, 1).features
    for target in (economy, comfort, green):
        assert (target(features).sum(axis=1) == 1).all()


def test_rows_for_a_table(scores):
    assert len(as_rows(scores)) == 15
    assert set(as_rows(scores)[0]) == {
        "policy",
        "estimator",
        "estimate",
        "truth",
        "bias",
        "rmse",
        "coverage",
        "mean_weight",
    }


def test_what_the_log_hides_no_estimator_puts_right_but_the_mean_weight_gives_it_away(scores):
    found = judge(3000, range(6), riders=800, hidden=0.3)
    for target in ("comfort", "green"):
        for name in ("model", "ips", "snips", "doubly robust"):
            assert found[target][name].bias > 0.05
        assert found[target]["ips"].mean_weight > 1.5
        assert scores[target]["ips"].mean_weight == pytest.approx(1, abs=0.1)
    assert found["green"]["ips"].coverage < 0.2


def test_a_log_without_trying_is_refused():
    with pytest.raises(InvalidInput, match="never tries"):
        judge(100, [0], trying=0.0)
    with pytest.raises(InvalidInput, match="hidden is 2"):
        judge(100, [0], hidden=2.0)
