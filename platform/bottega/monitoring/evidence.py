"""The evidence for an alarm, in figures and in plain words."""

import math
from datetime import datetime

import pandas as pd

from bottega.monitoring.alerts import Evidence
from bottega.monitoring.detection import Detection
from bottega.monitoring.reference import Normal


def gather(judged: pd.DataFrame, normal: Normal, alarm: Detection, incident_at: datetime | None = None) -> Evidence:
    """Errors of `judged` (labelled predictions of the model version) from the change point to the alarm."""
    changed = judged[(judged["label_at"] >= alarm.change_at) & (judged["label_at"] < alarm.at)]
    error = changed["predicted"] - changed["actual"]
    return Evidence(
        mae_before=normal.mae,
        mae_now=float(error.abs().mean()),
        bias_now=float(error.mean()),
        labels_now=len(changed),
        shift_share=math.expm1(alarm.shift),
        hours_since_start=None if incident_at is None else (alarm.at - incident_at).total_seconds() / 3600,
    )


def explain(alarm: Detection, evidence: Evidence, day: Detection | None, unit: str) -> str:
    """The alarm in plain words; `day` is the first day that broke the plain rule, if one did."""
    text = (
        f"Since {alarm.change_at:%Y-%m-%d %H:%M} UTC the typical actual value is {abs(evidence.shift_share):.0%} "
        f"{'above' if evidence.shift_share > 0 else 'below'} what is normal for this model; the mean absolute error "
        f"went from {evidence.mae_before:.2f} to {evidence.mae_now:.2f} {unit}".rstrip()
    )
    if day is not None:
        text += f"; the day from {day.change_at:%Y-%m-%d %H:%M} UTC alone was off by {abs(math.expm1(day.shift)):.0%}"
    return text + "."
