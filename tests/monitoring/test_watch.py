from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pandas as pd
import pytest

from bottega.errors import NotFound
from bottega.features.plan import FeaturePlan
from bottega.monitoring.alerts import read_alerts
from bottega.monitoring.labels import append_labels
from bottega.monitoring.reference import take_reference
from bottega.monitoring.report import load_report, save_report, summary
from bottega.monitoring.watch import watch
from bottega.schema import Field
from bottega.serving.log import Answered, PredictionLog

START = datetime(2024, 3, 4, 5, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = FeaturePlan(
    request=(Field("pu_zone", "INT32"), Field("at", "INT64", is_time=True)),
    steps=(),
    answer=(Field("eta_min", "FP32"), Field("low_min", "FP32"), Field("high_min", "FP32")),
)


def serve(workspace, table: pd.DataFrame) -> None:
    """Log the rows as the server does."""
    log = PredictionLog(workspace.predictions)
    for version, rows in table.groupby("model_version"):
        at_us = rows["at"].dt.tz_convert("UTC").astype("int64").to_numpy()
        request = {"pu_zone": rows["pu_zone"].to_numpy(np.int32), "at": at_us}
        answer = {name: rows[name].to_numpy(np.float32) for name in ("eta_min", "low_min", "high_min")}
        ids = rows["request_id"].tolist()
        assert log.append(Answered("eta", int(version), PLAN, ids, request, answer, int(at_us[0]), 900.0))
    log.close()


def judge(workspace, table: pd.DataFrame) -> None:
    """Store the rows' labels."""
    append_labels(workspace, "eta", table[["request_id", "actual", "label_at"]].rename(columns={"actual": "label"}))


@pytest.fixture
def reference(outcomes, monitor):
    return take_reference(outcomes(168, 100, seed=99, start=START - timedelta(days=7)), monitor, 1)


def test_an_incident_is_noticed_explained_and_kept(workspace, outcomes, monitor, reference):
    incident = START + timedelta(hours=100)
    table = outcomes(220, 100, shift=lambda hours: np.where(hours >= 100, -0.25, 0.0))
    serve(workspace, table)
    judge(workspace, table)
    until = START + timedelta(hours=220)
    watched = watch(workspace, "eta", monitor, reference, START, until, incident_at=incident, now=NOW, with_drift=False)
    assert watched.alarm is not None and watched.alert is not None and watched.retrain is not None
    assert incident < watched.alarm.at < incident + timedelta(hours=14)
    evidence = watched.alert.evidence
    assert evidence.mae_now > evidence.mae_before and evidence.bias_now > 2
    assert evidence.hours_since_start == (watched.alarm.at - incident) / timedelta(hours=1)
    assert evidence.shift_share == pytest.approx(np.expm1(-0.25), abs=0.04)
    assert "below what is normal" in watched.alert.explanation and "min" in watched.alert.explanation
    assert watched.alert.next_step.startswith("bottega train eta --from 2024-03-08T")
    assert watched.alert.noticed_at == NOW
    assert watched.retrain.ready and watched.retrain.rows == pytest.approx(12_000, rel=0.05)
    assert read_alerts(workspace, "eta") == (watched.alert,)

    again = watch(workspace, "eta", monitor, reference, START, until, now=NOW, with_drift=False)
    assert again.alert == watched.alert and len(read_alerts(workspace, "eta")) == 1


def test_quiet_days_are_quiet_and_the_report_is_read_back(workspace, outcomes, monitor, reference):
    table = outcomes(168, 50)
    serve(workspace, table)
    judge(workspace, table)
    until = START + timedelta(hours=168)
    watched = watch(workspace, "eta", monitor, reference, START, until, now=NOW)
    assert watched.alarm is None and watched.alert is None and read_alerts(workspace, "eta") == ()
    assert watched.drift is not None and watched.drift.verdict == "no drift" and watched.drift.html.exists()
    assert watched.label_psi is not None and watched.label_psi < 0.05
    assert watched.labels.matched + watched.labels.waiting == len(table)
    assert watched.labels.waiting == (table["label_at"] >= until).sum()

    save_report(workspace, watched)
    figures, tables = load_report(workspace, "eta")
    assert figures == summary(watched)
    assert figures.mae == pytest.approx(reference.normal.mae, rel=0.05)
    assert figures.coverage == pytest.approx(0.8, abs=0.02)
    assert figures.drift == "no drift" and figures.drift_columns.keys() == {"pu_zone", "at", "eta_min"}
    pd.testing.assert_frame_equal(tables["hourly"], watched.hourly)
    pd.testing.assert_frame_equal(tables["series"], watched.detections.series)
    msgspec.json.encode(figures)


def test_what_was_not_known_at_the_time_is_not_used(workspace, outcomes, monitor, reference):
    table = outcomes(200, 100, shift=lambda hours: np.where(hours >= 100, -0.25, 0.0))
    serve(workspace, table)
    judge(workspace, table)
    before = watch(workspace, "eta", monitor, reference, START, START + timedelta(hours=100), with_drift=False)
    assert before.alarm is None and read_alerts(workspace, "eta") == ()
    assert before.labels.predictions == (table["at"] < START + timedelta(hours=100)).sum()


def test_each_version_is_judged_by_its_own_answers(workspace, outcomes, monitor, reference):
    """The old version is off since the change; the new one, which answers beside it, is not."""
    old = outcomes(150, 100, shift=lambda hours: np.where(hours >= 60, 0.3, 0.0))
    new = outcomes(150, 100, seed=2, version=2)
    for table in (old, new):
        serve(workspace, table)
        judge(workspace, table)
    until = START + timedelta(hours=150)
    second = msgspec.structs.replace(reference.normal, model_version=2)
    judged_old = watch(workspace, "eta", monitor, reference, START, until, with_drift=False)
    judged_new = watch(
        workspace, "eta", monitor, type(reference)(second, reference.rows), START, until, with_drift=False
    )
    assert judged_old.alarm is not None and judged_new.alarm is None
    assert judged_old.total["model_version"].tolist() == [1, 2]
    assert judged_old.total["mae"].iloc[0] > 1.3 * judged_old.total["mae"].iloc[1]


def test_late_labels_of_earlier_requests_are_not_unmatched(workspace, outcomes, monitor, reference):
    table = outcomes(48, 50)
    serve(workspace, table)
    judge(workspace, table)
    judge(workspace, table.iloc[-1:].assign(request_id="nobody-asked", label_at=START + timedelta(hours=30)))
    since = START + timedelta(hours=24)
    watched = watch(workspace, "eta", monitor, reference, since, START + timedelta(hours=48), with_drift=False)
    assert watched.labels.unmatched == 1
    assert watched.hourly["start"].min() >= since


def test_nothing_asked_is_said(workspace, monitor, reference):
    with pytest.raises(NotFound, match="No prediction of 'eta'"):
        watch(workspace, "eta", monitor, reference, START, NOW)
    with pytest.raises(NotFound, match="not watched yet"):
        load_report(workspace, "eta")
