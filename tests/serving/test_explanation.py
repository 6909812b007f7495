"""What an answer says of itself: ages of features, and the values that were used, over a running server."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from bottega.compile.runtime import Artifact
from bottega.features.online import OnlineStore
from bottega.features.steps import Columns
from bottega.serving import deployment
from bottega.serving.client import Client
from bottega.serving.process import running
from bottega.times import from_epoch_us
from bottega.workspace import Workspace

ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
INPUTS = ["km", "hour", "weekday", "speed", "trips"]
Served = tuple[Workspace, str]


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served[1]) as client:
        yield client


def as_rows(columns: Columns) -> list[dict[str, object]]:
    return [
        {"pu_zone": int(pu), "do_zone": int(do), "at": from_epoch_us(at).isoformat()}
        for pu, do, at in zip(columns["pu_zone"], columns["do_zone"], columns["at"], strict=True)
    ]


def known(value: float) -> float | None:
    return None if np.isnan(value) else value


def test_each_answer_says_how_old_its_features_are(
    served: Served, client: Client, some_rows: Callable[[int], Columns]
) -> None:
    columns = some_rows(200)
    stored = OnlineStore(served[0].online).read("zone_traffic", (columns["pu_zone"],), columns["at"])
    ages = [known(age) for age in stored.age_s.tolist()]
    assert None in ages  # some zones had no event in the hour before
    assert min(age for age in ages if age is not None) >= 0
    answered = client.predict("eta", as_rows(columns))
    assert answered.feature_ages_s == [{"speed": age, "trips": age} for age in ages]
    assert answered.explanations == []


def test_an_explanation_holds_what_the_model_was_given(
    served: Served, client: Client, some_rows: Callable[[int], Columns], load: Callable[[Workspace, int], Artifact]
) -> None:
    columns = some_rows(50)
    rows = as_rows(columns)
    answered = client.predict("eta", rows, explain=True)
    stored = OnlineStore(served[0].online).read("zone_traffic", (columns["pu_zone"],), columns["at"])
    for i, explanation in enumerate(answered.explanations):
        assert list(explanation.inputs) == INPUTS
        speed, trips = explanation.looked_up
        assert (speed.name, speed.view, speed.feature) == ("speed", "zone_traffic", "speed_kmh_mean_1h")
        assert (trips.name, trips.view, trips.feature) == ("trips", "zone_traffic", "count_1h")
        assert speed.key == trips.key == {"pu_zone": rows[i]["pu_zone"]}
        assert datetime.fromisoformat(speed.at) == datetime.fromisoformat(str(rows[i]["at"]))
        assert speed.value == known(stored["speed_kmh_mean_1h"][i])
        assert trips.value == explanation.inputs["trips"] == stored["count_1h"][i]
        assert speed.age_s == trips.age_s == answered.feature_ages_s[i]["speed"]
        assert not speed.service
    # the model alone, asked with the explained inputs, gives the answer
    inputs = [[np.nan if v is None else v for v in e.inputs.values()] for e in answered.explanations]
    alone = load(served[0], 1).predict_raw(np.array(inputs, np.float32))[:, 0]
    given = np.array([answer["eta_min"] for answer in answered.answers], np.float32)
    np.testing.assert_array_equal(np.maximum(alone, np.float32(0.1)), given)


@pytest.mark.parametrize(
    ("body", "query", "explained"),
    [
        ({}, "", False),
        ({"explain": True}, "", True),
        ({}, "?explain=true", True),
        ({"explain": False}, "?explain=true", True),  # the address has the last word
        ({"explain": True}, "?explain=false&other=1", False),
    ],
)
def test_explanations_come_where_they_are_asked_for(served: Served, body: dict, query: str, explained: bool) -> None:
    path = f"{served[1]}/v1/eta/predict{query}"
    one = httpx.post(path, json={**ROW, **body}).json()
    many = httpx.post(path, json={"rows": [ROW, ROW], **body}).json()
    assert ("explanation" in one, "explanations" in many) == (explained, explained)
    assert one["feature_ages_s"] == many["feature_ages_s"][0] == many["feature_ages_s"][1]
    if explained:
        assert one["explanation"] == many["explanations"][0] == many["explanations"][1]


@pytest.mark.parametrize(
    ("body", "query"),
    [({"explain": 1}, ""), ({"explain": None}, ""), ({}, "?explain="), ({}, "?explain=1"), ({}, "?explain=%ff")],
)
def test_what_is_neither_true_nor_false_is_refused(served: Served, body: dict, query: str) -> None:
    for asked in (ROW, {"rows": [ROW]}):
        response = httpx.post(f"{served[1]}/v1/eta/predict{query}", json={**asked, **body})
        assert (response.status_code, list(response.json())) == (400, ["error"])
        assert "true" in response.json()["error"]


def test_a_canary_is_explained_by_its_own_inputs(more: Workspace) -> None:
    deployment.try_canary(more, "eta", 4, 1.0, "other preprocessing")
    with running(more) as address, Client(address.url) as client:
        found = client.predict("eta", [ROW], explain=True)
    assert found.model_version == 4
    assert list(found.explanations[0].inputs) == ["minute", "km"]
    assert found.explanations[0].inputs["minute"] == 8 * 60 + 30
    assert (found.explanations[0].looked_up, found.feature_ages_s) == ([], [{}])


def test_a_view_without_events_has_no_age(fresh: Callable[[], Workspace], tmp_path: Path) -> None:
    workspace = fresh()
    assert isinstance(workspace.online, Path)
    workspace.online.rename(tmp_path / "away")
    with running(workspace) as address, Client(address.url) as client:
        found = client.predict("eta", [ROW], explain=True)
    assert found.feature_ages_s == [{"speed": None, "trips": None}]
    assert [one.value for one in found.explanations[0].looked_up] == [None, None]
