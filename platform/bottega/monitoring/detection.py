"""From labelled predictions to a detection: which shift, since when, how sure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from bottega.monitoring.detectors import Crossing, Cusum, Detector, Direction, Level, PageHinkley, Sums, scan
from bottega.monitoring.monitor import Monitor
from bottega.monitoring.quality import day_series, error_series
from bottega.monitoring.reference import Normal

Name = Literal["cusum", "page_hinkley", "day"]
HELD_BACK_TRUST = 0.5


class Detection(msgspec.Struct, frozen=True):
    """What a detector found.

    `at` is the label time of the alarm, `change_at` the estimated start of the shift (UTC). `value` and `threshold` are
    the detector's own. `shift` is the median log residual from `change_at` to `at`, less what is normal.
    """

    detector: Name
    at: datetime
    change_at: datetime
    direction: Direction
    value: float
    threshold: float
    shift: float


@dataclass(frozen=True)
class Detections:
    """`series` is what the detectors saw, with the sums `above` and `below` of CUSUM for plots; `days` the daily one.

    The alarm is CUSUM's alone; the others are told beside it, and do not raise one.
    """

    series: pd.DataFrame
    days: pd.DataFrame
    cusum: Detection | None
    page_hinkley: Detection | None
    day: Detection | None

    @property
    def alarm(self) -> Detection | None:
        """The detection that counts."""
        return self.cusum


def expected_median(normal: Normal) -> float:
    """The median log residual that the served model is expected to show, log units.

    The model's own median, and half of what the held-back period showed beyond it: the served model was refitted on
    that period too, which takes away most of what was a drift of level.
    """
    return normal.own_median + HELD_BACK_TRUST * (normal.mean - normal.own_median)


def detect(joined: pd.DataFrame, normal: Normal, monitor: Monitor) -> Detections:
    """Run the detectors over labelled predictions of one model version.

    The error series is standardised as z = (median - expected) / max(sd, sd_floor). The slack is the practical one of
    the monitor in the same unit, and at least half a standard deviation, Page's optimum for a shift of one.
    """
    expected, sd = expected_median(normal), max(normal.sd, monitor.sd_floor)
    slack = max(0.5, monitor.slack / sd)
    series = error_series(joined, monitor.min_labels, monitor.residual)
    series["z"] = (series["median"] - expected) / sd
    days = day_series(joined, monitor.min_day_labels, monitor.timezone, monitor.residual)
    days["end"] = days["start"] + pd.Timedelta(days=1)
    days["deviation"] = days["median"] - expected
    cusum = Cusum(slack, monitor.threshold)
    series["above"], series["below"] = _path(cusum, series["z"].to_numpy())
    return Detections(
        series=series,
        days=days,
        cusum=_run("cusum", cusum, series, "z", expected),
        page_hinkley=_run("page_hinkley", PageHinkley(slack, monitor.threshold), series, "z", expected),
        day=_run("day", Level(monitor.day_limit), days, "deviation", expected),
    )


def _path(detector: Cusum, values: np.ndarray) -> tuple[list[float], list[float]]:
    """Both sums after each value, without a reset at the alarm."""
    state, above, below = detector.start(), [], []
    for value in values.tolist():
        state = detector.update(state, value)
        above.append(state.above)
        below.append(state.below)
    return above, below


def _run(name: Name, detector: Detector[Sums], table: pd.DataFrame, column: str, expected: float) -> Detection | None:
    found: Crossing | None = scan(detector, table[column].tolist())
    if found is None:
        return None
    rise = table.iloc[found.start : found.index + 1]
    return Detection(
        detector=name,
        at=rise["end"].iloc[-1].to_pydatetime(),
        change_at=rise["start"].iloc[0].to_pydatetime(),
        direction=found.direction,
        value=found.value,
        threshold=found.threshold,
        shift=float(np.average(rise["median"], weights=rise["labels"])) - expected,
    )
