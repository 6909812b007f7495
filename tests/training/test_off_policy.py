import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.training.off_policy import doubly_robust, fold, ips, snips, uncovered, weigh

ACTIONS = 4
VALUES = np.array([[0.1, 0.5, 0.3, 0.2], [0.6, 0.1, 0.2, 0.4], [0.3, 0.3, 0.9, 0.1]])  # (contexts, actions)
LOGGED = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
TARGET = np.array([[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5], [0.1, 0.1, 0.7, 0.1]])
TRUTH = float((TARGET * VALUES).sum(axis=1).mean())  # contexts are equally likely


def draw(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    context = rng.integers(0, 3, rows)
    action = (rng.random(rows)[:, None] > LOGGED[context].cumsum(axis=1)).sum(axis=1)
    return context, action, (rng.random(rows) < VALUES[context, action]).astype(float)


def estimates(seed: int, logged=LOGGED, model=VALUES):
    context, action, reward = draw(seed)
    weights = weigh(TARGET[context, action], logged[context, action])
    at_target = (TARGET * model).sum(axis=1)[context]
    return (
        ips(reward, weights),
        snips(reward, weights),
        doubly_robust(reward, weights, model[context, action], at_target),
    )


def test_each_estimator_is_right_on_average_and_its_interval_covers_the_truth():
    runs = [estimates(seed) for seed in range(300)]
    for kind in range(3):
        values = np.array([run[kind].value for run in runs])
        assert abs(values.mean() - TRUTH) < 4 * values.std() / np.sqrt(len(values)) + 0.001
        covered = np.mean([run[kind].low <= TRUTH <= run[kind].high for run in runs])
        assert 0.91 <= covered <= 0.99


def test_self_normalising_and_a_model_take_noise_away():
    spread = np.array([[one.value for one in estimates(seed)] for seed in range(200)]).std(axis=0)
    assert spread[1] < spread[0]
    assert spread[2] < spread[0]


def test_doubly_robust_survives_either_a_wrong_model_or_wrong_probabilities_but_not_both():
    wrong_model, wrong_log = VALUES[:, ::-1] + 0.3, np.full_like(LOGGED, 0.25)

    def error(**wrong) -> float:
        return abs(np.mean([estimates(seed, **wrong)[2].value for seed in range(100)]) - TRUTH)

    assert error(model=wrong_model) < 0.01
    assert error(logged=wrong_log) < 0.01
    assert error(model=wrong_model, logged=wrong_log) > 0.05


def test_a_target_equal_to_the_log_is_the_plain_mean():
    _, action, reward = draw(1)
    weights = weigh(np.ones(len(action)), np.ones(len(action)))
    for estimate in (ips(reward, weights), snips(reward, weights)):
        assert estimate.value == pytest.approx(reward.mean())
        assert estimate.high - estimate.value == pytest.approx(1.959964 * reward.std(ddof=1) / np.sqrt(len(reward)))
        assert estimate.effective_rows == pytest.approx(len(reward))


def test_an_offset_of_the_reward_moves_snips_by_itself_and_adds_noise_to_ips():
    context, action, reward = draw(2)
    weights = weigh(TARGET[context, action], LOGGED[context, action])
    assert snips(reward + 5, weights).value == pytest.approx(snips(reward, weights).value + 5)
    assert ips(reward + 5, weights).value != pytest.approx(ips(reward, weights).value + 5, abs=1e-6)


def test_clusters_of_copies_say_no_more_than_one_of_each():
    context, action, reward = draw(3, rows=500)
    weights = weigh(TARGET[context, action], LOGGED[context, action])
    once = ips(reward, weights)
    copies = ips(np.tile(reward, 4), np.tile(weights, 4), clusters=np.tile(np.arange(500), 4))
    pretending = ips(np.tile(reward, 4), np.tile(weights, 4))
    assert copies.high - copies.low == pytest.approx(once.high - once.low)
    assert pretending.high - pretending.low < 0.6 * (once.high - once.low)


def test_the_mean_weight_tells_wrong_probabilities():
    context, action, reward = draw(4, rows=20_000)
    right = weigh(TARGET[context, action], LOGGED[context, action])
    wrong = weigh(TARGET[context, action], np.full(len(action), 0.25))
    assert ips(reward, right).mean_weight == pytest.approx(1, abs=0.1)
    assert ips(reward, wrong).mean_weight < 0.8


def test_large_weights_can_be_cut():
    assert weigh([0.9, 0.5], [0.01, 0.5], at_most=10).tolist() == [10, 1]


def test_choices_that_the_log_never_makes_are_named_as_a_share():
    assert uncovered(TARGET, LOGGED) == 0
    never = np.where(LOGGED == 0.1, 0, LOGGED)
    assert uncovered(TARGET, never) == pytest.approx((1 + 1 + 0) / 3)


def test_folds_are_of_equal_size_and_of_the_seed():
    assert np.bincount(fold(10, 5, seed=1)).tolist() == [2] * 5
    assert (fold(100, 5, seed=1) == fold(100, 5, seed=1)).all()
    assert (fold(100, 5, seed=1) != fold(100, 5, seed=2)).any()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weigh([1.0], [0.0]), "probability 0"),
        (lambda: weigh([-0.1], [0.5]), "-0.1"),
        (lambda: weigh([1.0, 1.0], [0.5]), "same rows"),
        (lambda: ips([], []), "at least one row"),
        (lambda: ips([1.0], [1.0]), "two or more"),
        (lambda: ips([float("nan"), 1], [1, 1]), "nan in row 0"),
        (lambda: snips([1.0, 2.0], [0.0, 0.0]), "never took"),
        (lambda: doubly_robust([1.0, 2.0], [1, 1], [1.0], [1.0, 1.0]), "predicted_logged"),
        (lambda: ips([1.0, 2.0], [1, 1], clusters=[1]), "clusters"),
        (lambda: fold(3, 4, 0), "4 folds of 3 rows"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(InvalidInput, match=says):
        call()
