import pytest

from bottega.monitoring.alerts import read_alerts
from bottega.monitoring.report import load_report
from bottega.pipeline.loop import replay_span, server
from bottega.pipeline.replay import local_days, request_rows
from bottega.pipeline.sources import gather
from bottega.pipeline.trial import try_load
from bottega.pipeline.views import check_parity, materialize_views
from bottega.pipeline.watch import watch_live
from bottega.serving.address import read_server
from bottega.serving.log import read_predictions
from bottega.times import CITY_TIMEZONE, parse_time


def day(text):
    return parse_time(text, CITY_TIMEZONE)


def test_days_are_the_citys_also_when_the_clock_changes():
    days = list(local_days(day("2024-03-09"), day("2024-03-12"), CITY_TIMEZONE))
    assert [(end - start).total_seconds() / 3600 for start, end in days] == [24, 23, 24]
    assert [start for start, _ in days[1:]] == [end for _, end in days[:-1]]


def test_a_quiet_replay_answers_every_trip_and_raises_no_alarm(live, usecase, settings):
    since, until = day("2024-03-06"), day("2024-03-08")
    report = replay_span(usecase, live, settings, since, until)
    trips = gather(usecase, live, settings, since, until).sources["trips"]
    trips = trips[trips["pickup_at"] >= since]
    logged = read_predictions(live, "eta", since, until)
    assert report.rows == len(trips) == len(logged)
    assert set(logged["request_id"]) == set(trips["trip_id"].astype(str))
    assert report.alarms == 0
    assert report.alarm_at is None
    assert read_server(live) is None, "a server that the replay started ends with it"
    figures, tables = load_report(live, "eta")
    assert figures.labels.matched > 0.9 * len(trips)
    assert len(tables["hourly"])


def test_the_served_answers_are_those_of_the_reference(live, usecase, settings):
    """Replayed answers equal an evaluation that joins features offline, point-in-time."""
    from bottega.pipeline.evaluate import evaluate

    since, until = day("2024-03-06"), day("2024-03-07")
    replay_span(usecase, live, settings, since, until)
    offline = evaluate(usecase, live, settings, since=since, until=until)
    logged = read_predictions(live, "eta", since, until).set_index("request_id")
    trips = gather(usecase, live, settings, since, until).sources["trips"]
    trips = trips[trips["pickup_at"] >= since]
    actual = trips.set_index(trips["trip_id"].astype(str))["duration_min"]
    assert (logged["eta_min"] - actual).abs().mean() == pytest.approx(offline.metrics["mae_min"], rel=1e-9)


@pytest.mark.slow
def test_an_incident_raises_an_alarm_and_retraining_recovers(live, usecase, settings):
    incident = day("2024-03-13")
    report = replay_span(
        usecase, live, settings, day("2024-03-12"), day("2024-03-27"), retrain=True, incident_at=incident
    )
    assert report.alarm_at is not None
    assert 0 < (report.alarm_at - incident).total_seconds() / 3600 < 72
    assert report.version_after > report.version_before
    during, after = report.phase("during"), report.phase("after_retrain")
    assert after.mae < during.mae
    assert read_alerts(live, "eta")[0].status == "resolved"


def test_a_look_at_what_was_never_asked_says_what_to_do(live, usecase):
    from bottega.errors import NotFound

    with pytest.raises(NotFound):
        watch_live(usecase, live, day("2024-09-01"), day("2024-09-02"), with_drift=False)


def test_a_trial_leaves_no_trace_in_the_log(live, usecase, settings):
    import msgspec

    before = len(read_predictions(live, "eta"))
    trips = gather(usecase, live, settings, day("2024-03-06"), day("2024-03-07"))
    rows = request_rows(usecase, usecase.recipe.labels(trips.sources).head(8))
    trial = try_load(live, "eta", [msgspec.json.encode(row) for row in rows], seconds=0.5)
    assert trial.alone.errors == trial.busy.errors == 0
    assert trial.alone.requests > 0
    with server(live):
        assert len(read_predictions(live, "eta")) == before


def test_offline_and_online_agree_on_every_value(live, usecase, settings):
    since, until = day("2024-03-05"), day("2024-03-06")
    assert materialize_views(usecase, live, settings, since, until) > 1000
    found = check_parity(usecase, live, settings, since, until)
    assert found.values > 2_000
    assert found.mismatches == 0
