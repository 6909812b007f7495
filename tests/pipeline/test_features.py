"""Features through the platform: streamed, explained, and those that were served held to those that train."""

import dataclasses

import numpy as np
import pytest

from bottega.errors import InvalidInput, NotFound, Unavailable
from bottega.features import Attribute, ExternalView
from bottega.features.online import OnlineStore
from bottega.pipeline.loop import replay_span
from bottega.pipeline.skew import served_skew
from bottega.pipeline.views import (
    check_parity,
    entity_keys,
    explain_value,
    find_view,
    find_windowed,
    materialize_views,
    model_lineage,
    not_compared,
    publish_events,
    read_now,
    store_state,
    update_views,
)
from bottega.serving import segments
from bottega.serving.log import read_predictions
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace


def day(text):
    return parse_time(text, CITY_TIMEZONE)


def test_served_features_are_those_of_the_training_set(live, usecase, settings):
    replay_span(usecase, live, settings, day("2024-03-08"), day("2024-03-09"))
    found = served_skew(usecase, live, settings, day("2024-03-08"), day("2024-03-09"))
    assert found.requests == len(read_predictions(live, "eta", day("2024-03-08"), day("2024-03-09")))
    (speed,) = found.features
    assert (speed.feature, speed.values, speed.mismatches) == ("pu_speed_1h", found.requests, 0)
    assert 0 < speed.served.null_share < 1
    assert speed.distance < 0.2


def test_a_feature_that_was_served_wrong_is_found(live, usecase, settings, monkeypatch):
    replay_span(usecase, live, settings, day("2024-03-09"), day("2024-03-10"))
    logged = read_predictions(live, "eta", day("2024-03-09"), day("2024-03-10"))
    column = segments.FEATURE + "pu_speed_1h"
    wrong = logged.assign(**{column: logged[column].where(logged.index != 5, 1.5)})
    monkeypatch.setattr("bottega.pipeline.skew.read_predictions", lambda *_: wrong)
    found = served_skew(usecase, live, settings)
    assert found.mismatches == 1
    assert found.features[0].first_mismatch.request_id == logged["request_id"].iloc[5]
    assert found.features[0].first_mismatch.served == 1.5


def test_a_workspace_without_answers_says_so(tmp_path, usecase, settings):
    with pytest.raises(NotFound, match="No version of eta is live"):
        served_skew(usecase, Workspace.open(tmp_path / "w"), settings)


def test_a_stream_answers_as_a_materialisation_and_both_as_the_events(tmp_path, usecase, settings):
    streamed, filled = (Workspace.open(tmp_path / name) for name in ("streamed", "filled"))
    since, until = day("2024-03-04"), day("2024-03-05")
    ends = publish_events(usecase, streamed, settings, since, until)
    (done,) = update_views(usecase, streamed, until_end=True)
    assert done.read == done.counted == ends["trips"] > 2000
    assert done.lag == 0
    materialize_views(usecase, filled, settings, since, until)
    view = find_windowed(usecase, "zone_traffic")
    zones, at_us = np.arange(1, 200), np.full(199, int(until.timestamp()) * 1_000_000)
    one, other = (OnlineStore(w.online).read(view.name, (zones,), at_us) for w in (streamed, filled))
    for feature in view.features:
        np.testing.assert_array_equal(one[feature.name], other[feature.name])
    busiest = int(zones[np.argmax(one["count_1h"])])
    found, online = explain_value(usecase, view, "count_1h", streamed, settings, (busiest,), until)
    assert found.value == online == one["count_1h"].max() == len(found.events)
    state = store_state(streamed, view)
    assert state.refused == {}
    assert "has seen events that were known until 2024-03-05T04:" in state.text()
    assert "holds nothing" in store_state(Workspace.open(tmp_path / "new"), view).text()
    assert check_parity(usecase, streamed, settings, since, until).mismatches == 0


def test_keys_are_read_in_the_entity_s_type(usecase):
    view = find_windowed(usecase, "zone_traffic")
    assert entity_keys(view, ["74"]) == (74,)
    with pytest.raises(InvalidInput, match="'north' is no whole number"):
        entity_keys(view, ["north"])
    for text in ("--7", "7.0", "", "1_0"):
        with pytest.raises(InvalidInput, match="is no whole number"):
            entity_keys(view, [text])
    with pytest.raises(InvalidInput, match="The key 2147483648 is out of the range of zone's int32 keys"):
        entity_keys(view, ["2147483648"])
    with pytest.raises(InvalidInput, match=r"was given 2 keys\. Its keys are"):
        entity_keys(view, ["7", "8"])


def test_what_has_no_windows_says_where_its_values_are(tmp_path, usecase):
    zone = find_windowed(usecase, "zone_traffic").entity
    nobody = "http://127.0.0.1:9/ask"  # the discard port, where nobody listens
    weather = ExternalView("weather", zone, nobody, [Attribute("temperature_c", "degC", default=15.0)])
    references = {**usecase.recipe.references, "temperature_c": "weather:temperature_c@pu_zone"}
    recipe = dataclasses.replace(usecase.recipe, views=(*usecase.views, weather), references=references)
    wider = dataclasses.replace(usecase, recipe=recipe)
    with pytest.raises(InvalidInput, match=r"zones has no windows.*'bottega features stats zones'"):
        find_windowed(wider, "zones")
    with pytest.raises(InvalidInput, match="'bottega features lookup weather KEY --at TIME'"):
        find_windowed(wider, "weather")
    workspace = Workspace.open(tmp_path / "w")
    with pytest.raises(Unavailable, match=r"'http://127.0.0.1:9/ask' is up"):
        read_now(workspace, Settings(), weather, (74,), 0)
    with pytest.raises(InvalidInput, match="'bottega features stats zones'"):
        read_now(workspace, Settings(), find_view(wider, "zones"), (74,), 0)
    assert (not_compared(usecase), not_compared(wider)) == ((), ("weather",))


def test_the_lineage_of_the_model_begins_at_the_dataset_s_columns(usecase):
    edges = model_lineage(usecase)
    origins = {edge.origin for edge in edges} - {edge.target for edge in edges}
    assert {"trips.speed_kmh", "trips.dropoff_at", "trips.pu_zone", "zones.lat"} <= origins
    assert {edge.target for edge in edges if edge.how == "input"} == {"model"}
