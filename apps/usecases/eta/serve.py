"""The ETA endpoint: what is asked, what is answered, and how the model's residual becomes minutes."""

from typing import Any

from bottega.features import OnRequest, on_request
from bottega.schema import Field

REQUEST = (
    Field("pu_zone", "INT32", description="Pickup zone: a number of the zone table", known_in="zones"),
    Field("do_zone", "INT32", description="Drop-off zone: a number of the zone table", known_in="zones"),
    Field("at", "INT64", description="The moment of pickup", is_time=True),
)
ANSWER = (
    Field("eta_min", "FP64", unit="min", description="Estimated duration"),
    Field("low_min", "FP64", unit="min", description="Four of five trips take at least this ..."),
    Field("high_min", "FP64", unit="min", description="... and at most this"),
)


@on_request(outputs=("eta_min", "low_min", "high_min"), unit="min")
def minutes(xp: Any, pair_log: Any, residual: Any, log_low: Any, log_high: Any) -> Any:
    """The estimate and its 80 % interval."""
    eta = xp.exp(pair_log + residual)
    return eta, eta * xp.exp(log_low), eta * xp.exp(log_high)


answers: tuple[OnRequest, ...] = (minutes,)
