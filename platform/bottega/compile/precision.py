"""What an artefact's numbers are: float32, or whole numbers of 8 bits and what that costs."""

from typing import Literal

import msgspec


class Precision(msgspec.Struct, frozen=True):
    """The cost of whole numbers, measured on held-back rows by the model's own metric.

    `loss` is how much worse the metric became, relative to float32 (negative: better), at most `bound`.
    `max_abs_error` is over the model's outputs. `quantised` and `kept` are layers of the graph.
    """

    kind: Literal["int8"]
    metric: str
    metric_float: float
    metric_quantised: float
    loss: float
    bound: float
    max_abs_error: float
    rows: int
    calibration: str
    calibration_rows: int
    quantised: tuple[str, ...]
    kept: tuple[str, ...]
    size_bytes: int
    float_size_bytes: int
