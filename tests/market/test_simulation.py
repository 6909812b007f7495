"""What must hold in any market: nobody is lost, a world is the same in any company, scarcity collapses."""

import msgspec
import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.market.city import City
from bottega.market.conditions import Conditions
from bottega.market.indicators import gini, measure
from bottega.market.policies import Bounds, NoSurge, Rule
from bottega.market.simulation import Days, simulate

ARRAYS = [name for name in Days.__dataclass_fields__ if name != "seeds"]


@pytest.fixture(scope="module")
def days(city: City) -> Days:
    return simulate(city, Rule(), range(4), Conditions(drivers=0.7))


def test_every_request_has_one_end(days: Days) -> None:
    ends = days.priced_out + days.unmet + days.completed
    still_waiting = days.requests.sum(axis=(0, 2)) - ends.sum(axis=(0, 2))
    assert (still_waiting >= 0).all()
    assert (still_waiting <= 0.01 * days.requests.sum(axis=(0, 2))).all()
    for name in ("requests", "priced_out", "unmet", "completed"):
        column = getattr(days, name)
        assert (column >= 0).all()
        np.testing.assert_array_equal(column, np.round(column))


def test_a_world_is_the_same_in_any_company(city: City, days: Days) -> None:
    alone = simulate(city, Rule(), [2], Conditions(drivers=0.7))
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(alone, name)[:, 0], getattr(days, name)[:, 2], atol=1e-9, err_msg=name)


def test_the_same_seed_gives_the_same_figures(city: City, days: Days) -> None:
    assert measure(simulate(city, Rule(), range(4), Conditions(drivers=0.7))) == measure(days)
    assert measure(simulate(city, Rule(), range(4, 8), Conditions(drivers=0.7))) != measure(days)


def test_policies_meet_the_same_requests(city: City, days: Days) -> None:
    np.testing.assert_array_equal(simulate(city, NoSurge(), range(4)).requests, days.requests)


def test_fewer_drivers_serve_fewer_riders_after_longer_waits(city: City) -> None:
    plenty, scarce = (measure(simulate(city, NoSurge(), range(4), Conditions(drivers=d))) for d in (1.3, 0.7))
    assert scarce.completed < plenty.completed
    assert scarce.wait_min > plenty.wait_min
    assert scarce.unmet_share > plenty.unmet_share + 0.05
    assert plenty.priced_out_share == pytest.approx(scarce.priced_out_share)  # the price is the same


def test_without_response_a_price_brings_no_driver(city: City) -> None:
    still = Conditions(drivers=0.7, elasticity=0.0)
    none, dear = (simulate(city, policy, range(4), still) for policy in (NoSurge(), Rule(1.0, 2.0)))
    assert dear.online.mean() == pytest.approx(none.online.mean(), rel=0.02)
    answering = simulate(city, Rule(1.0, 2.0), range(4), Conditions(drivers=0.7))
    assert answering.online.mean() > 1.05 * none.online.mean()


def test_an_emergency_lowers_the_cap(city: City) -> None:
    days = simulate(city, Rule(2.0, 2.0, Bounds(emergency_cap=1.1)), range(2), Conditions(emergency=(200, 240)))
    assert days.multiplier[200:240].max() <= 1.1
    assert days.multiplier.max() > 1.5
    assert days.requests[200:240].sum() > 1.5 * simulate(city, NoSurge(), range(2)).requests[200:240].sum()


def test_the_future_does_not_change_the_past(city: City) -> None:
    later = msgspec.structs.replace(Conditions(), emergency=(150, 160))
    calm, troubled = simulate(city, Rule(), [1]), simulate(city, Rule(), [1], later)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(calm, name)[:150], getattr(troubled, name)[:150], err_msg=name)


def test_gini_is_half_the_mean_difference() -> None:
    values = np.random.default_rng(2).uniform(size=30)
    pairs = np.abs(values[:, None] - values).mean()
    assert gini(values) == pytest.approx(pairs / (2 * values.mean()))


def test_wrong_conditions_are_refused(city: City) -> None:
    with pytest.raises(InvalidInput, match="share of drivers"):
        Conditions(drivers=0)
    with pytest.raises(InvalidInput, match="elasticity"):
        Conditions(elasticity=-1)
    with pytest.raises(InvalidInput, match="seeds"):
        simulate(city, NoSurge(), [])
