"""Surge pays where drivers are few and respond; the log of another policy does not show it."""

import pytest

from bottega.errors import InvalidInput
from bottega.market.city import City
from bottega.market.comparison import compare, markets
from bottega.market.conditions import Conditions
from bottega.market.exploration import Estimated, evaluate_off_policy, study
from bottega.market.policies import NoSurge, Optimiser, Rule
from bottega.market.tuning import tune


def test_with_few_drivers_surge_completes_more_trips(city: City) -> None:
    few = {name: found for name, found in markets().items() if name.startswith("few")}
    none, rule, still_none, still_rule = compare(city, (NoSurge(), Rule(0.7, 0.9)), range(4), few)
    assert none.trips_change == 0
    assert rule.trips_change_low > 0.02
    assert rule.surplus_change > 0
    assert rule.indicators.unmet_share < none.indicators.unmet_share
    assert rule.indicators.wait_min < none.indicators.wait_min
    assert still_rule.trips_change < rule.trips_change
    assert still_none.indicators == none.indicators


def test_tuning_keeps_the_best_trial(city: City) -> None:
    tuned = tune(city, range(50, 52), candidates=(Rule(0.4, 0.8), Rule(3.0, 2.0), Optimiser(1.5)))
    rules = [trial for trial in tuned.trials if trial.policy == "rule"]
    assert tuned.rule == max(rules, key=lambda trial: trial.score).settings == {"slope": 0.4, "tightness": 0.8}
    assert [policy.name for policy in tuned.policies()] == ["none", "rule", "optimiser"]


def test_one_day_has_no_interval(city: City) -> None:
    with pytest.raises(InvalidInput, match="two or more"):
        compare(city, (NoSurge(),), [1])


@pytest.fixture(scope="module")
def still(city: City) -> dict[str, Estimated]:
    logging, targets = study()
    found = evaluate_off_policy(city, logging, targets, range(8), Conditions(drivers=0.7, elasticity=0.0))
    return {estimate.target: estimate for estimate in found}


def test_the_log_knows_its_own_policy(still: dict[str, Estimated]) -> None:
    own = still["the log itself"]
    assert own.ips == pytest.approx(own.logged)
    assert own.effective_rows == own.rows
    assert own.truth == pytest.approx(own.logged, rel=0.02)


def test_little_overlap_shows_in_the_effective_rows(still: dict[str, Estimated]) -> None:
    far, own = still["far steeper"], still["the log itself"]
    assert far.effective_rows < 0.1 * own.effective_rows
    assert far.ips_high - far.ips_low > 2 * (own.ips_high - own.ips_low)


def test_a_log_does_not_see_the_drivers_that_a_price_brings(city: City) -> None:
    logging, targets = study()
    found = evaluate_off_policy(city, logging, targets, range(8), Conditions(drivers=0.7))
    none = next(estimate for estimate in found if estimate.target == "no surge")
    assert none.truth < none.logged  # without surge fewer trips are completed ...
    assert none.doubly_robust_low > none.truth  # ... and the log is sure of the contrary
