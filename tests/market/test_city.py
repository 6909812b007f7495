"""The market's city is what its trips say."""

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.market.city import DISTRICTS, TICKS, City, build_city

Tables = tuple[pd.DataFrame, pd.DataFrame]


def test_shares_sum_to_one_and_the_day_has_its_requests(city: City) -> None:
    assert city.requests.shape == (TICKS, DISTRICTS)
    assert city.requests.sum() == pytest.approx(8_000)
    np.testing.assert_allclose(city.destination.sum(axis=1), 1)
    assert (city.minutes > 0).all()
    assert (city.cars > 0).all()


def test_the_peaks_are_where_the_trips_are(city: City) -> None:
    by_hour = city.requests.sum(axis=1).reshape(24, -1).sum(axis=1)
    assert set(np.argsort(by_hour)[-4:]) <= {7, 8, 9, 10, 16, 17, 18, 19, 20}
    assert by_hour[18] > 3 * by_hour[3]


def test_the_same_trips_give_the_same_city(city: City, trips_and_zones: Tables) -> None:
    trips, zones = trips_and_zones
    again = build_city(trips, zones, core=1.0)
    np.testing.assert_array_equal(again.requests, city.requests)
    np.testing.assert_array_equal(again.minutes, city.minutes)


def test_a_city_whose_pickups_crowd_in_few_zones_has_its_districts_all_the_same(trips_and_zones: Tables) -> None:
    trips, zones = trips_and_zones
    crowded = trips.assign(pu_zone=np.where(trips.index % 3, 20, trips["pu_zone"]))
    city = build_city(crowded, zones, core=0.3)
    assert np.isfinite(city.minutes).all()
    with pytest.raises(InvalidInput, match="fewer than 12 zones"):
        build_city(trips, zones[:11])


def test_too_few_trips_are_refused(trips_and_zones: Tables) -> None:
    trips, zones = trips_and_zones
    trips = trips[:4_000]
    with pytest.raises(InvalidInput, match="trips between known zones are too few"):
        build_city(trips, zones)
