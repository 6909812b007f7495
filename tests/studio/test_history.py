from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bottega.errors import NotFound
from bottega.monitoring.alerts import read_alerts
from bottega.monitoring.labels import read_labels
from bottega.monitoring.monitor import Monitor
from bottega.serving.log import read_predictions
from bottega.workspace import Workspace
from studio.error_over_time import moments
from studio.history import measure

Log = Callable[[Workspace, pd.DataFrame], None]


def test_the_daily_error_is_that_of_the_logged_trips(watched: Workspace, monitor: Monitor) -> None:
    found = measure(watched, "eta", monitor)
    rows = read_predictions(watched, "eta").merge(read_labels(watched, "eta"), on="request_id")
    error = (rows["eta_min"] - rows["label"]).abs().groupby(rows["at"].dt.tz_convert("America/New_York").dt.date).mean()
    np.testing.assert_allclose(found.daily["mae"], error)
    assert found.daily["labels"].sum() == found.hourly["labels"].sum() == found.counts.matched == len(rows)


def test_the_sums_cross_the_threshold_at_the_alarm(watched: Workspace, monitor: Monitor) -> None:
    found = measure(watched, "eta", monitor)
    (alert,) = read_alerts(watched, "eta")
    sums = found.sums
    crossed = sums[sums["below"] >= alert.detection.threshold]["end"].min()
    assert crossed == pd.Timestamp(alert.detection.at)


def test_alarms_and_deployments_stand_on_the_requests_clock(watched: Workspace, monitor: Monitor) -> None:
    marks = moments(measure(watched, "eta", monitor), read_alerts(watched, "eta"), ())
    assert marks["what"].tolist() == ["alarm, version 1", "version 1 live"]
    assert marks["at"].iloc[1] == pd.Timestamp("2024-03-04 00:00")  # midnight, city time
    assert pd.Timestamp("2024-03-07") < marks["at"].iloc[0] < pd.Timestamp("2024-03-09")


def test_predictions_without_labels_have_no_error(
    workspace: Workspace, monitor: Monitor, some_outcomes: pd.DataFrame, log: Log
) -> None:
    log(workspace, some_outcomes)
    with pytest.raises(NotFound, match="No label"):
        measure(workspace, "eta", monitor)
