"""Quality over time: error, bias and coverage from predictions whose labels have arrived."""

from typing import Literal

import numpy as np
import pandas as pd

from bottega.monitoring.monitor import Residual

Period = Literal["hour", "day", "all"]


def log_residual(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """log(actual / predicted), (rows,): 0.1 means that the actual value was about 10 % above the predicted one.

    Signed, so a shift of the world adds up while the noise of single trips cancels; relative, so long trips do not
    drown short ones. NaN where one of the two is not positive.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.log(np.asarray(actual, np.float64) / np.asarray(predicted, np.float64))
    return np.where(np.isfinite(residual), residual, np.nan)


def residual_of(kind: Residual, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The signed error of each row, (rows,), as a monitor wants it told."""
    if kind == "log":
        return log_residual(actual, predicted)
    return np.asarray(actual, np.float64) - np.asarray(predicted, np.float64)


_CENTRE = {"log": "median", "difference": "mean"}
"""Of the errors of a period: the mean of a residual that is 1 or nearly 0 says what its median cannot."""


def period_start(moments: pd.Series, period: Period, timezone: str) -> pd.Series:
    """The UTC start of each moment's hour, or of its local day in `timezone`."""
    if period == "hour":
        return moments.dt.floor("h")
    return moments.dt.tz_convert(timezone).dt.normalize().dt.tz_convert("UTC")


def quality(joined: pd.DataFrame, period: Period, timezone: str, kind: Residual = "log") -> pd.DataFrame:
    """One row for each period of the request's own time `at` and each model version.

    Columns: start (UTC; absent for "all"), model_version, labels, mae, bias (mean of predicted - actual), both in the
    label's unit, median_log_residual (the centre of the residuals of `kind`), p90_abs_error, coverage (share of actual
    values in [low, high]; NaN without an interval), width (mean of high - low).
    """
    error = joined["predicted"] - joined["actual"]
    inside = (joined["actual"] >= joined["low"]) & (joined["actual"] <= joined["high"])
    has_interval = joined["low"].notna() & joined["high"].notna()
    rows = pd.DataFrame(
        {
            "model_version": joined["model_version"],
            "bias": error,
            "abs_error": error.abs(),
            "residual": residual_of(kind, joined["actual"].to_numpy(), joined["predicted"].to_numpy()),
            "inside": inside.astype(float).where(has_interval),
            "width": (joined["high"] - joined["low"]).where(has_interval),
        }
    )
    keys = ["model_version"]
    if period != "all":
        rows["start"] = period_start(joined["at"], period, timezone)
        keys = ["start", "model_version"]
    groups = rows.groupby(keys, sort=True)
    return groups.agg(
        labels=("abs_error", "size"),
        mae=("abs_error", "mean"),
        bias=("bias", "mean"),
        median_log_residual=("residual", _CENTRE[kind]),
        p90_abs_error=("abs_error", lambda errors: errors.quantile(0.9)),
        coverage=("inside", "mean"),
        width=("width", "mean"),
    ).reset_index()


def error_series(joined: pd.DataFrame, min_labels: int, kind: Residual = "log") -> pd.DataFrame:
    """The series that a detector is fed: hourly medians of the log residual, by the hour in which labels arrived.

    Hours are taken in order; one with fewer than `min_labels` labels is pooled with the next ones until they are that
    many, so a quiet night is one value of the same noise as a busy hour. Labels left over at the end wait.

    Columns: start, end (UTC, label time), labels, median, mae, one row a value.
    """
    rows = joined.sort_values("label_at", kind="stable")
    residual = residual_of(kind, rows["actual"].to_numpy(), rows["predicted"].to_numpy())
    keep = np.isfinite(residual)
    rows, residual = rows[keep], residual[keep]
    error = (rows["actual"] - rows["predicted"]).abs().to_numpy()
    centre = getattr(np, _CENTRE[kind])
    hours = rows["label_at"].dt.floor("h")
    values: list[tuple[pd.Timestamp, pd.Timestamp, int, float, float]] = []
    first = 0
    ends = np.flatnonzero(np.diff(hours.astype("int64").to_numpy(), append=np.iinfo(np.int64).max)) + 1  # (hours,)
    for end in ends.tolist() if len(rows) else []:
        if end - first >= min_labels:
            start, stop = hours.iloc[first], hours.iloc[end - 1] + pd.Timedelta(hours=1)
            part = slice(first, end)
            values.append((start, stop, end - first, float(centre(residual[part])), float(error[part].mean())))
            first = end
    series = pd.DataFrame(values, columns=["start", "end", "labels", "median", "mae"])
    return series.astype({"start": "datetime64[us, UTC]", "end": "datetime64[us, UTC]"})


def day_series(joined: pd.DataFrame, min_labels: int, timezone: str, kind: Residual = "log") -> pd.DataFrame:
    """Median log residual by the local day in which labels arrived: start, labels, median; quiet days are left out."""
    residual = residual_of(kind, joined["actual"].to_numpy(), joined["predicted"].to_numpy())
    rows = pd.DataFrame({"start": period_start(joined["label_at"], "day", timezone), "residual": residual})
    days = rows.groupby("start", sort=True)["residual"].agg(labels="size", median=_CENTRE[kind]).reset_index()
    return days[days["labels"] >= min_labels].reset_index(drop=True)
