"""Prices stay within their bounds, whatever is forecast."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InvalidInput
from bottega.market.policies import Bounds, NoSurge, Optimiser, Policy, Rule, Seen, reason, surge

POLICIES: tuple[Policy, ...] = (NoSurge(), Rule(), Rule(5.0, 3.0), Optimiser(), Optimiser(0.2))


def seen(requests: float, cars: float, last: float = 1.0, emergency: bool = False) -> Seen:
    one = np.ones((1, 1))
    return Seen(requests * one, cars * one, np.array([12.0]), last * one, np.array([emergency]))


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 2.5), st.booleans(), st.sampled_from(range(len(POLICIES))))
def test_no_price_leaves_its_bounds(requests: float, cars: float, last: float, emergency: bool, which: int) -> None:
    price = POLICIES[which].price(seen(requests, cars, last, emergency)).item()
    assert 1.0 <= price <= (1.2 if emergency else 2.5)


def test_prices_rise_with_requests_and_do_not_jump() -> None:
    for policy in (Rule(), Optimiser()):
        prices = [policy.price(seen(requests, 10.0)).item() for requests in (2, 8, 20, 60)]
        assert prices == sorted(prices)
        assert prices[0] == 1.0
        assert prices[-1] > 1.3
        assert prices[-1] - 1.0 <= 0.5 * (2.5 - 1.0) + 1e-9  # half of the way at most


def test_the_rule_is_one_formula() -> None:
    found = surge(np, np.array([5.0, 20.0, 500.0]), np.array([10.0, 10.0, 0.0]), 0.5, 1.0, 2.5)
    np.testing.assert_allclose(found, [1.0, 1.5, 2.5])


def test_reasons_say_what_was_forecast() -> None:
    assert reason(32.4, 11, 15, 1.8) == "32 requests for 11 cars in the next 15 minutes"
    assert reason(90, 3, 15, 1.2, capped=True).endswith("; held at 1.20 by the cap")


@pytest.mark.parametrize("wrong", [{"cap": 0.9}, {"emergency_cap": 3.0}, {"emergency_cap": 0.5}, {"inertia": 1.0}])
def test_bounds_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Bounds(**wrong)
