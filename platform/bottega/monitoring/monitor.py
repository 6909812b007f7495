"""What a use case declares about watching it: which fields, which limits."""

from typing import Literal

import msgspec

Kind = Literal["categorical", "numerical"]
Residual = Literal["log", "difference"]
"""How an error is told: log(actual / predicted), and its median; or actual - predicted, and its mean, for what may be
0: a probability beside what came true, a count beside its forecast."""


class WatchedColumn(msgspec.Struct, frozen=True):
    """A column whose distribution is compared with the reference.

    Identifiers are categorical, though they are stored as integers. A `limit` of None means the default of its kind.
    """

    name: str
    kind: Kind
    limit: float | None = None


class Monitor(msgspec.Struct, frozen=True):
    """Fields and limits of one use case's monitoring.

    The errors watched are log residuals, log(actual / predicted): 0.05 is "5 % more than predicted"; or differences,
    with limits in the label's own unit. The defaults were
    set on thirteen quiet spans and one shock of real taxi trips (2020 to 2024), with models of three losses and
    held-back periods of 1 to 14 days: the largest sum of a quiet span reached 0.61 of the threshold (0.80 at worst),
    after a Sunday or New Year's Day; the shock, which began on 13 March 2020, crossed it between the 16th, 15:00 and
    the 17th, 18:00, when the median residual was down by 10 to 15 %.
    """

    predicted: str
    """Answer field that is compared with the label, for example `eta_min`."""
    unit: str = ""
    low: str | None = None
    high: str | None = None
    columns: tuple[WatchedColumn, ...] = ()
    """Request and answer columns watched for drift; a time field counts as the local hour of day."""
    residual: Residual = "log"
    timezone: str = "America/New_York"
    label_within_s: int = 6 * 3600
    """A label later than this after the request's time is overdue."""
    min_labels: int = 50
    """Labels that one value of the error series needs; quieter hours are pooled until they are that many."""
    min_day_labels: int = 200
    slack: float = 0.05
    """Log residual that is of no practical importance, however long it lasts: 5 %."""
    threshold: float = 36.0
    """Of the cumulative sum, in standard deviations: with sd 5 %, 9 hours of a shift by 25 % or 36 of one by 10 %."""
    sd_floor: float = 0.05
    """Smallest standard deviation that a reference may claim, in log units: three quiet days know no better."""
    day_limit: float = 0.13
    """The plain rule: a day's median log residual beyond this is named in the alarm's explanation."""
    drift_window_s: int = 7 * 86400
    """Current window of the drift report: a whole week, since weekends differ from weekdays without any drift."""
    psi_limit: float = 0.2
    wasserstein_limit: float = 0.1
    """Both are customary limits of practical size, not tests; an hour or a Sunday alone often exceeds them."""
    min_retrain_rows: int = 5_000
    min_retrain_days: float = 3.0
    """What a retraining span must hold at least, the part for the promotion gate included."""
