"""Workspaces as the Studio meets them, made through the platform's own functions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Model, Stack
from bottega.monitoring.labels import append_labels
from bottega.monitoring.monitor import Monitor
from bottega.monitoring.reference import load_reference, save_reference, take_reference
from bottega.monitoring.report import save_report
from bottega.monitoring.watch import watch
from bottega.serving.log import Answered, PredictionLog
from bottega.workspace import Workspace
from usecases import find

APP = Path(__file__).parents[2] / "apps" / "studio" / "app.py"
START = datetime(2024, 3, 4, 5, tzinfo=UTC)  # a Monday, midnight in New York
SHIFT_AT_H = 72.0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Runs the page on a workspace, with a panel open."""

    def run(workspace: Path, panel: str = "ETA map", usecase: str = "eta") -> AppTest:
        monkeypatch.setenv("BOTTEGA_WORKSPACE", str(workspace))
        monkeypatch.delenv("BOTTEGA_DATA", raising=False)
        test = AppTest.from_file(str(APP), default_timeout=60)
        test.query_params["panel"] = panel
        test.query_params["usecase"] = usecase
        return test.run()

    return run


@pytest.fixture(scope="session")
def monitor() -> Monitor:
    """How the ETA is watched."""
    return find("eta").monitor


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, monitor: Monitor) -> Workspace:
    """Three calm days, then two in which trips take 30 % less: predictions, labels, a drift report and an alarm."""
    workspace = Workspace.open(tmp_path_factory.mktemp("studio") / "watched")
    calm = outcomes(240, 1, START - timedelta(days=12), shift=0.0)
    save_reference(workspace, "eta", take_reference(calm, monitor, 1, rows=calm))
    rows = outcomes(120, 2, START, shift=np.log(0.7))
    log_answers(workspace, rows)
    labels = rows.rename(columns={"actual": "label"})[["request_id", "label", "label_at"]]
    append_labels(workspace, "eta", labels)
    until = (rows["label_at"].max() + pd.Timedelta(seconds=1)).to_pydatetime()
    found = watch(workspace, "eta", monitor, load_reference(workspace, "eta", 1), START, until)
    assert found.alarm is not None
    save_report(workspace, found)
    return workspace


@pytest.fixture
def some_outcomes() -> pd.DataFrame:
    """Labelled predictions of a few calm hours."""
    return outcomes(5, 3, START, shift=0.0)


@pytest.fixture
def log() -> Callable[[Workspace, pd.DataFrame], None]:
    """Writes rows into a workspace's prediction log."""
    return log_answers


def outcomes(hours: int, seed: int, start: datetime, shift: float) -> pd.DataFrame:
    """Labelled predictions, 80 an hour; from `SHIFT_AT_H` hours on the log residual is off by `shift`."""
    rng = np.random.default_rng(seed)
    size = hours * 80
    after_h = np.sort(rng.uniform(0, hours, size))
    predicted = rng.uniform(5, 30, size)
    actual = predicted * np.exp(np.where(after_h < SHIFT_AT_H, 0.0, shift) + rng.normal(0, 0.3, size))
    at = pd.Series(pd.Timestamp(start) + pd.to_timedelta((after_h * 3.6e9).astype(np.int64), unit="us"))
    return pd.DataFrame(
        {
            "request_id": [f"trip-{seed}-{row}" for row in range(size)],
            "at": at.dt.as_unit("us"),
            "label_at": (at + pd.to_timedelta((actual * 6e7).astype(np.int64), unit="us")).dt.as_unit("us"),
            "pu_zone": rng.integers(1, 41, size).astype(np.int32),
            "do_zone": rng.integers(1, 41, size).astype(np.int32),
            "eta_min": predicted,
            "low_min": predicted * np.exp(-0.38),
            "high_min": predicted * np.exp(0.38),
            "predicted": predicted,
            "low": predicted * np.exp(-0.38),
            "high": predicted * np.exp(0.38),
            "actual": actual,
        }
    )


def log_answers(workspace: Workspace, rows: pd.DataFrame) -> None:
    """Write rows into the prediction log as the server does, as answers of version 1."""
    usecase = find("eta")
    plan = FeaturePlan(usecase.request, (Stack(("pu_zone",), "x"), Model("x", ("y",))), usecase.answer)
    at_us = rows["at"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)
    request = {"pu_zone": rows["pu_zone"].to_numpy(), "do_zone": rows["do_zone"].to_numpy(), "at": at_us}
    answer = {name: rows[name].to_numpy() for name in ("eta_min", "low_min", "high_min")}
    log = PredictionLog(workspace.predictions)
    log.append(Answered("eta", 1, plan, rows["request_id"].tolist(), request, answer, int(at_us[-1]), 100.0))
    log.close()
    assert log.counts()["written"] == len(rows)
