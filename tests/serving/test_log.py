"""The prediction log: every row that was answered, or a count of those that were dropped."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.features.online import OnlineStore
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.schema import Field
from bottega.serving.client import Client
from bottega.serving.log import REPEATS, Answered, PredictionLog, read_predictions
from bottega.serving.process import running
from bottega.times import from_epoch_us, to_epoch_us
from bottega.workspace import Workspace

PLAN = FeaturePlan(
    request=(
        Field("zone", "INT32"),
        Field("km", "FP64"),
        Field("paid", "BOOL"),
        Field("kind", "BYTES"),
        Field("at", "INT64", is_time=True),
    ),
    steps=(),
    answer=(Field("eta_min", "FP32"), Field("label", "BYTES")),
)
NOON = to_epoch_us(datetime(2024, 1, 16, 12, tzinfo=UTC))
HOUR = 3_600_000_000


def answered(first: int, rows: int, at_us: int = NOON, plan: FeaturePlan = PLAN, version: int = 3) -> Answered:
    numbers = np.arange(first, first + rows)
    request = {
        "zone": numbers.astype(np.int32),
        "km": numbers / 7,
        "paid": numbers % 3 == 0,
        "kind": np.array([f"kïnd {n}" for n in numbers], object),
        "at": at_us + numbers * 1_000_000,
    }
    answer = {
        "eta_min": (numbers / 3).astype(np.float32),
        "label": np.array([b"x" * (n % 3) for n in numbers], object),
    }
    return Answered(
        "eta", version, plan, tuple(f"id-{n}" for n in numbers), request, answer, at_us + 5 * HOUR + first, 120.5
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def test_what_was_answered_is_what_is_read(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions)
    entries = [answered(0, 1), answered(1, 5), answered(6, 2, version=4)]
    assert all(log.append(entry) for entry in entries)
    log.close()
    assert log.counts() | {"segments": 0} == {"written": 8, "waiting": 0, "dropped": 0, "segments": 0}
    frame = read_predictions(workspace, "eta")
    assert list(frame) == [
        *("request_id", "predicted_at", "at", "zone", "km", "paid", "kind", "eta_min", "label"),
        *("model_version", "role", "trace_id", "latency_us"),
    ]
    assert frame["request_id"].tolist() == [f"id-{n}" for n in range(8)]
    assert frame["predicted_at"].dtype == frame["at"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert frame["model_version"].tolist() == [3] * 6 + [4] * 2
    assert frame["latency_us"].tolist() == [120.5] * 8
    for name in ("zone", "km", "paid", "kind", "eta_min"):
        expected = np.concatenate([{**e.request, **e.answer}[name] for e in entries])
        assert frame[name].tolist() == expected.tolist()
    assert frame["label"].tolist() == ["x" * (n % 3) for n in range(8)]
    assert frame["at"].tolist() == [from_epoch_us(NOON + n * 1_000_000) for n in range(8)]


def test_segments_lie_by_day_of_the_prediction(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions)
    log.append(answered(0, 2))
    log.append(answered(2, 2, NOON + 24 * HOUR))
    log.close()
    days = sorted(path.parent.name for path in (workspace.predictions / "eta").glob("*/*"))
    assert days == ["2024-01-16", "2024-01-17"]


def test_reading_takes_rows_by_their_own_time(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions)
    log.append(answered(0, 10))
    log.close()
    since, until = from_epoch_us(NOON + 3_000_000), from_epoch_us(NOON + 7_000_000)
    assert read_predictions(workspace, "eta", since, until)["zone"].tolist() == [3, 4, 5, 6]
    assert read_predictions(workspace, "eta", since=since)["zone"].tolist() == list(range(3, 10))
    assert read_predictions(workspace, "eta", until=until)["zone"].tolist() == list(range(7))


def test_versions_with_other_fields_are_read_together(workspace: Workspace) -> None:
    narrow = FeaturePlan(PLAN.request[:1], (), PLAN.answer[:1])
    log = PredictionLog(workspace.predictions)
    log.append(answered(0, 2))
    log.append(answered(2, 2, plan=narrow, version=4))
    log.close()
    frame = read_predictions(workspace, "eta")
    assert frame["zone"].tolist() == [0, 1, 2, 3]
    assert frame["km"].isna().tolist() == [False, False, True, True]
    # a plan without a time: the moment of the prediction stands in
    assert (frame["at"] == frame["predicted_at"]).tolist() == [False, False, True, True]


def test_of_an_id_that_was_answered_twice_the_first_answer_counts(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions)
    log.append(answered(0, 3, NOON))
    log.append(answered(1, 1, NOON + HOUR))  # asked again, and answered later
    log.append(answered(1, 1, NOON + 24 * HOUR))  # in a segment of another day
    log.append(answered(1, 1, NOON + 2 * HOUR, version=4))  # asked of another version
    log.close()
    found = read_predictions(workspace, "eta")
    assert found["request_id"].tolist() == ["id-0", "id-1", "id-2", "id-1"]
    assert found["model_version"].tolist() == [3, 3, 3, 4]
    assert (found["predicted_at"][:3] < from_epoch_us(NOON + 6 * HOUR)).all()
    assert found.attrs[REPEATS] == 2
    later = read_predictions(workspace, "eta", from_epoch_us(NOON + 90 * 60_000_000))
    assert later[["request_id", "model_version"]].to_numpy().tolist() == [["id-1", 4]]
    assert later.attrs[REPEATS] == 1


def test_what_does_not_fit_is_dropped_and_counted(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions, capacity=5, flush_s=60)
    assert [log.append(answered(n, 2)) for n in (0, 2, 4, 6)] == [True, True, False, False]
    assert log.append(answered(8, 1))
    log.close()
    assert log.counts() == {"written": 5, "waiting": 0, "dropped": 4, "segments": 1}
    assert read_predictions(workspace, "eta")["zone"].tolist() == [0, 1, 2, 3, 8]


def test_a_flush_writes_without_waiting_for_the_clock(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions, flush_s=3600)
    log.append(answered(0, 2))
    log.flush()
    while log.counts()["waiting"]:
        pass
    assert read_predictions(workspace, "eta")["zone"].tolist() == [0, 1]
    log.close()


def test_a_segment_that_cannot_be_written_is_counted_and_the_log_lives_on(workspace: Workspace) -> None:
    workspace.predictions.mkdir()
    (workspace.predictions / "eta").write_text("a file where a folder must be")
    log = PredictionLog(workspace.predictions, flush_s=0.01)
    log.append(answered(0, 3))
    while log.counts()["waiting"]:
        pass
    (workspace.predictions / "eta").unlink()
    log.append(answered(3, 2))
    log.close()
    assert log.counts() == {"written": 2, "waiting": 0, "dropped": 3, "segments": 1}


def test_no_half_segment_is_ever_read(workspace: Workspace) -> None:
    log = PredictionLog(workspace.predictions)
    log.append(answered(0, 1))
    log.close()
    (segment,) = (workspace.predictions / "eta").glob("*/*.parquet")
    segment.with_name("later.partial").write_bytes(segment.read_bytes()[:100])
    assert len(read_predictions(workspace, "eta")) == 1


def test_a_use_case_without_predictions_reads_as_empty(workspace: Workspace) -> None:
    frame = read_predictions(workspace, "eta", since=datetime(2024, 1, 1, tzinfo=UTC))
    assert frame.empty
    assert list(frame)[:3] == ["request_id", "predicted_at", "at"]


def test_looked_up_features_are_logged_as_the_store_gave_them(
    fresh: Callable[[], Workspace], some_rows: Callable[[int], Columns]
) -> None:
    workspace, columns = fresh(), some_rows(40)
    rows = [
        {"pu_zone": int(pu), "do_zone": int(do), "at": from_epoch_us(at).isoformat()}
        for pu, do, at in zip(columns["pu_zone"], columns["do_zone"], columns["at"], strict=True)
    ]
    with running(workspace) as address, Client(address.url) as client:
        client.predict("eta", rows, ids=[str(n) for n in range(40)])
        client.wait_for_log()
    frame = read_predictions(workspace, "eta").set_index("request_id").loc[[str(n) for n in range(40)]]
    found = OnlineStore(workspace.online).read("zone_traffic", (columns["pu_zone"],), columns["at"])
    np.testing.assert_array_equal(frame["feature_speed"], found["speed_kmh_mean_1h"])
    np.testing.assert_array_equal(frame["feature_trips"], found["count_1h"])
    assert frame["feature_trips"].sum() > 0
