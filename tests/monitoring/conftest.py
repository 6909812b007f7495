from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.workspace import Workspace

START = datetime(2024, 3, 4, 5, tzinfo=UTC)  # a Monday, midnight in New York


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(
        "eta_min",
        unit="min",
        low="low_min",
        high="high_min",
        columns=(
            WatchedColumn("pu_zone", "categorical"),
            WatchedColumn("at", "numerical"),
            WatchedColumn("eta_min", "numerical"),
        ),
    )


Outcomes = Callable[..., pd.DataFrame]


@pytest.fixture
def outcomes() -> Outcomes:
    """Labelled predictions: `per_hour` trips an hour, log residual normal around `shift(hours since start)`."""

    def make(
        hours: int = 240,
        per_hour: int = 100,
        shift: Callable[[np.ndarray], np.ndarray] | float = 0.0,
        sd: float = 0.3,
        seed: int = 1,
        version: int = 1,
        start: datetime = START,
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        rows = hours * per_hour
        after_h = np.sort(rng.uniform(0, hours, rows))
        level = shift(after_h) if callable(shift) else np.full(rows, shift)
        predicted = rng.uniform(5, 30, rows)
        actual = predicted * np.exp(level + rng.normal(0, sd, rows))
        at = pd.Series(pd.Timestamp(start) + pd.to_timedelta((after_h * 3.6e9).astype(np.int64), unit="us"))
        table = pd.DataFrame(
            {
                "request_id": [f"{version}-{seed}-{row}" for row in range(rows)],
                "at": at.dt.as_unit("us"),
                "label_at": (at + pd.to_timedelta((actual * 6e7).astype(np.int64), unit="us")).dt.as_unit("us"),
                "pu_zone": rng.integers(1, 41, rows).astype(np.int32),
                "actual": actual,
                "predicted": predicted,
                "low": predicted * np.exp(-1.2816 * sd),
                "high": predicted * np.exp(1.2816 * sd),
                "model_version": version,
            }
        )
        return table.assign(eta_min=table["predicted"], low_min=table["low"], high_min=table["high"])

    return make
