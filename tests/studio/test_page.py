from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from bottega.datasets.origin import Origin
from bottega.datasets.zones import load_zones
from bottega.pipeline.views import publish_events, update_views
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace
from usecases import discover, find

Page = Callable[..., AppTest]


def html(test: AppTest) -> str:
    return "\n".join(element.proto.body for element in test.get("html"))


def said(test: AppTest) -> str:
    return "\n".join(element.value for element in [*test.info, *test.error])


def test_an_empty_workspace_shows_the_loop_and_what_to_run(page: Page, workspace: Workspace) -> None:
    test = page(workspace.root)
    assert not test.exception
    body = html(test)
    assert body.count('class="stage empty"') == 8
    for command in ("bottega train eta", "bottega compile eta", "bottega deploy eta@champion", "bottega monitor eta"):
        assert f">{command}</code>" in body
    assert str(workspace.root) in body
    assert "simulator:city_simulator" in body


def test_without_a_server_the_map_says_so_and_still_shows_the_zones(page: Page, workspace: Workspace) -> None:
    test = page(workspace.root)
    assert "No server runs" in said(test)
    assert "`bottega serve`" in said(test)
    assert len(test.selectbox(key="pickup").options) == len(load_zones(Origin("simulator")))
    assert len(test.get("vega_lite_chart")) == 1


@pytest.mark.parametrize(
    ("panel", "text"),
    [
        ("Error over time", "No prediction of eta is logged yet"),
        ("Drift", "Run `bottega monitor eta`"),
        ("Alerts", "No alert was raised"),
    ],
)
def test_empty_panels_say_what_to_run(page: Page, workspace: Workspace, panel: str, text: str) -> None:
    test = page(workspace.root, panel)
    assert not test.exception
    assert text in said(test)


@pytest.mark.parametrize("name", sorted(discover()))
def test_every_use_case_has_its_pages(page: Page, workspace: Workspace, name: str) -> None:
    test = page(workspace.root, "Model card", name)
    assert not test.exception
    assert f"bottega train {name}" in html(test)
    assert any(element.value.startswith("# ") for element in test.markdown)
    asked = page(workspace.root, "Ask", name)
    assert not asked.exception
    assert "No server runs" in said(asked)


def test_an_alarm_is_seen_in_the_loop(page: Page, watched: Workspace) -> None:
    body = html(page(watched.root, "Alerts"))
    assert 'class="stage alarm" data-stage="Monitoring"' in body
    assert 'class="stage alarm" data-stage="Retrain"' in body
    assert "1 open alert" in body


def test_the_error_over_time_has_its_two_charts(page: Page, watched: Workspace) -> None:
    test = page(watched.root, "Error over time")
    assert not test.exception
    specs = [element.proto.spec for element in test.get("vega_lite_chart")]
    assert len(specs) == 2
    assert "Mean absolute error, min" in specs[0]
    assert "What raises the alarm" in specs[1]
    hourly = test.segmented_control(key="period").set_value("hour").run()
    assert "Hour of the request" in hourly.get("vega_lite_chart")[0].proto.spec


def test_drift_is_shown_by_column_with_evidentlys_page_on_demand(page: Page, watched: Workspace) -> None:
    test = page(watched.root, "Drift")
    assert not test.exception
    assert set(test.dataframe[0].value["column"]) == {"pu_zone", "do_zone", "at", "eta_min"}
    assert not test.get("iframe")
    shown = test.toggle(key="evidently").set_value(True).run()
    assert len(shown.get("iframe")) == 1


def test_an_alert_is_shown_with_evidence_and_next_step(page: Page, watched: Workspace) -> None:
    test = page(watched.root, "Alerts")
    assert test.code[0].value.startswith("bottega train eta --from ")
    assert "below what is normal" in test.text[0].value
    assert "CUSUM sum at the alarm" in html(test)


def test_a_workspace_of_a_newer_version_is_a_message_with_the_next_step(page: Page, workspace: Workspace) -> None:
    (workspace.root / "workspace.json").write_text('{"format": 99}')
    test = page(workspace.root)
    assert not test.exception
    assert "a newer version wrote it" in said(test)
    assert "Update Bottega" in said(test)


def test_a_damaged_file_is_its_stages_problem_and_the_page_goes_on(page: Page, workspace: Workspace) -> None:
    workspace.deployments.write_text("{")
    test = page(workspace.root)
    assert not test.exception
    assert 'class="stage alarm" data-stage="Serving"' in html(test)
    assert "deployments.json is damaged" in html(test)


def test_a_workspace_that_is_a_file_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "is a file, not a workspace" in said(page(file)).replace("\\", "")


def test_the_features_panel_explains_a_value_and_replays_a_day(page: Page, workspace: Workspace) -> None:
    since, until = (parse_time(f"2024-03-0{day}", CITY_TIMEZONE) for day in (4, 6))
    publish_events(find("eta"), workspace, Settings(), since, until)
    update_views(find("eta"), workspace, until_end=True)
    test = page(workspace.root, "Features")
    assert not test.exception
    body = html(test)
    assert 'data-feature="zone_traffic:speed_kmh_mean_1h"' in body
    assert "as training sees it" in body
    assert any("Events behind" in element.proto.spec for element in test.get("vega_lite_chart"))
    replayed = test.button(key="parity").click().run()
    assert "values compared, 0 differ" in "\n".join(element.value for element in replayed.success)
    asked = replayed.button(key="skew").click().run()
    assert "No version of eta is live" in said(asked)
