import pytest

from bottega.errors import InvalidInput, NotFound
from bottega.features import Entity, FeatureView, StaticView, count, mean, reference_steps
from bottega.features.refs import resolve
from bottega.features.steps import Lookup, Online

ZONE = Entity("zone", keys=("zone",))
TRAFFIC = FeatureView("traffic", ZONE, "trips", "dropoff_at", [mean("speed_kmh").over("15m"), count().over("1h")])
PAIRS = FeatureView("pairs", Entity("pair", ("pu", "do")), "trips", "dropoff_at", [count().over("1h")])
AREAS = StaticView("areas", ZONE, "zones", ["area_km2"])
VIEWS = [TRAFFIC, PAIRS, AREAS]


def test_a_list_names_columns_by_feature_and_keys_by_entity():
    (one, other) = resolve(["traffic:count_1h", "areas:area_km2"], VIEWS)
    assert (one.column, one.view, one.feature, one.keys) == ("count_1h", TRAFFIC, "count_1h", ("zone",))
    assert (other.column, other.view) == ("area_km2", AREAS)


def test_a_mapping_names_columns_and_a_reference_may_name_key_columns():
    (one, other) = resolve({"pu_trips": "traffic:count_1h@pu_zone", "both": "pairs:count_1h@a,b"}, VIEWS)
    assert (one.column, one.keys) == ("pu_trips", ("pu_zone",))
    assert (other.column, other.keys) == ("both", ("a", "b"))


@pytest.mark.parametrize(
    ("refs", "message"),
    [
        (["traffic"], "'traffic' is no feature reference. Write view:feature"),
        (["traffic:"], "no feature reference"),
        (["traffic:count_1h@"], "no feature reference"),
        (["taxi:count_1h"], "There is no view 'taxi'. There are: traffic, pairs, areas"),
        (["traffic:fare"], "has no feature 'fare'. It has: speed_kmh_mean_15m, count_1h."),
        (["areas:fare"], "StaticView 'areas' has no feature 'fare'"),
        (["traffic:count_1h@a,b"], "names 2 key columns, entity 'zone' has 1"),
        (["traffic:count_1h", "pairs:count_1h"], "Two references give the column 'count_1h'. Name them"),
    ],
)
def test_a_wrong_reference_says_what_would_be_right(refs, message):
    with pytest.raises((InvalidInput, NotFound), match=message):
        resolve(refs, VIEWS)


def test_two_views_of_one_name_are_refused():
    other = FeatureView("traffic", ZONE, "trips", "pickup_at", [count().over("1h")])
    with pytest.raises(InvalidInput, match="Two views have the name 'traffic'"):
        resolve(["traffic:count_1h"], [TRAFFIC, other])


def test_references_become_one_plan_step_for_each_view_and_key():
    refs = {
        "pu_speed": "traffic:speed_kmh_mean_15m@pu_zone",
        "do_speed": "traffic:speed_kmh_mean_15m@do_zone",
        "pu_trips": "traffic:count_1h@pu_zone",
        "pu_area": "areas:area_km2@pu_zone",
    }
    assert reference_steps(refs, VIEWS, at="at") == (
        Online("traffic", ("pu_zone",), "at", {"pu_speed": "speed_kmh_mean_15m", "pu_trips": "count_1h"}),
        Online("traffic", ("do_zone",), "at", {"do_speed": "speed_kmh_mean_15m"}),
        Lookup("areas", ("pu_zone",), {"pu_area": "area_km2"}),
    )
