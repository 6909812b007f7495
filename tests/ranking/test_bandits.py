import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from bottega.ranking.bandits import HouseRule, LinUcb, Popular, Ranker, Thompson, draw_choices, fit_logistic

RNG = np.random.default_rng(0)
FEATURES = np.column_stack([np.ones(400), RNG.normal(size=(400, 3))])
OFFERED = RNG.integers(0, 3, 400)
TAKEN = (RNG.random(400) < 1 / (1 + np.exp(-FEATURES[:, 1] * (OFFERED - 1)))).astype(float)


def test_an_arm_is_a_ridge_regression_on_its_own_answers():
    arms = LinUcb(3, 4, ridge=2.0)
    for start in range(0, 400, 100):  # in parts, as answers come in
        part = slice(start, start + 100)
        arms.learn(FEATURES[part], OFFERED[part], TAKEN[part])
    mean, _ = arms.posterior()
    for product in range(3):
        mine = product == OFFERED
        oracle = Ridge(alpha=2.0, fit_intercept=False).fit(FEATURES[mine], TAKEN[mine])
        assert mean[product] == pytest.approx(oracle.coef_, abs=1e-8)


def test_bounds_are_the_formula_row_by_row():
    arms = LinUcb(3, 4, alpha=0.7)
    arms.learn(FEATURES, OFFERED, TAKEN)
    bounds = arms.bounds(FEATURES[:5])
    for row, x in enumerate(FEATURES[:5]):
        for product in range(3):
            inverse = np.linalg.inv(arms.precision[product])
            expected = x @ inverse @ arms.moment[product] + 0.7 * np.sqrt(x @ inverse @ x)
            assert bounds[row, product] == pytest.approx(expected)


def test_draws_have_the_posterior_s_mean_and_spread():
    arms = Thompson(3, 4, scale=0.5)
    arms.learn(FEATURES, OFFERED, TAKEN)
    x = FEATURES[7]
    drawn = arms.draw(np.tile(x, (40_000, 1)), np.random.default_rng(1))
    mean, covariance = arms.posterior()
    assert drawn.mean(axis=0) == pytest.approx(mean @ x, abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(0.5 * np.sqrt(np.einsum("i,pij,j->p", x, covariance, x)), rel=0.03)


def test_the_logistic_regression_is_scikit_learn_s():
    oracle = LogisticRegression(C=1 / 1.5, fit_intercept=False, tol=1e-8).fit(FEATURES, TAKEN)
    assert fit_logistic(FEATURES, TAKEN, 1.5, np.zeros(4)) == pytest.approx(oracle.coef_[0], abs=2e-3)


def test_a_product_that_was_never_offered_is_believed_to_be_as_good_as_all():
    ranker = Ranker(3, 4)
    mine = OFFERED < 2
    ranker.learn(FEATURES[mine], OFFERED[mine], TAKEN[mine])
    assert ranker.probability(FEATURES)[:, 2] == pytest.approx(TAKEN[mine].mean(), abs=0.01)


def test_learning_in_parts_is_learning_at_once():
    parts, whole = Ranker(3, 4), Ranker(3, 4)
    parts.learn(FEATURES[:150], OFFERED[:150], TAKEN[:150])
    parts.learn(FEATURES[150:], OFFERED[150:], TAKEN[150:])
    whole.learn(FEATURES, OFFERED, TAKEN)
    assert parts.probability(FEATURES) == pytest.approx(whole.probability(FEATURES))


def test_popular_offers_what_was_taken_most():
    popular = Popular(3)
    popular.learn(FEATURES, np.array([0] * 200 + [2] * 200), np.array([0.3] * 200 + [0.6] * 200))
    popular.learn(FEATURES[:50], np.ones(50, int), np.zeros(50))
    assert set(popular.choose(FEATURES, RNG)) == {2}


def test_choices_come_as_probable_as_they_are():
    chosen = draw_choices(np.tile([0.2, 0.0, 0.8], (20_000, 1)), np.random.default_rng(3))
    assert np.bincount(chosen, minlength=3) / 20_000 == pytest.approx([0.2, 0.0, 0.8], abs=0.01)


def test_the_house_rule_offers_large_to_four_and_tries_a_little():
    features = np.zeros((2, 15))
    features[0, 4] = 1  # four_or_more
    offers = HouseRule(0.1).probabilities(features)
    assert offers.sum(axis=1) == pytest.approx([1, 1])
    assert offers[0] == pytest.approx([0.02, 0.02, 0.92, 0.02, 0.02])
    assert offers[1] == pytest.approx([0.92, 0.02, 0.02, 0.02, 0.02])
