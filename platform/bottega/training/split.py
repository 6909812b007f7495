"""Splitting by time: a model is judged on what came after everything it learned from."""

from dataclasses import dataclass

import numpy as np

from bottega.errors import InvalidInput
from bottega.times import DAY_US, from_epoch_us

GATE_DAYS = 7
SHORT_SPAN_DAYS = 35


@dataclass(frozen=True)
class Split:
    """The instants that cut a span into fit | tune | gate; epoch_us, each part up to and without the next instant.

    `fit` trains, `tune` stops the training and calibrates, `gate` is seen by no choice but the last one.
    """

    since_us: int
    tune_us: int
    gate_us: int
    until_us: int

    def part(self, at_us: np.ndarray) -> np.ndarray:
        """0 (fit), 1 (tune) or 2 (gate) for each moment: (rows,) int64."""
        return np.searchsorted([self.tune_us, self.gate_us], at_us, side="right")


def split_by_time(since_us: int, until_us: int, tune_share: float = 0.15) -> Split:
    """Cut [since, until): the gate is its newest 7 days, or its newest fifth where it is shorter than 35 days.

    The newest `tune_share` of what is left stops the training. Raises InvalidInput for a span under one day.

    >>> split = split_by_time(0, 10 * DAY_US)
    >>> split.gate_us // DAY_US
    8
    """
    length = until_us - since_us
    if length < DAY_US:
        raise InvalidInput(
            f"The training span from {from_epoch_us(since_us):%F %H:%M} to {from_epoch_us(until_us):%F %H:%M}"
            " UTC is shorter than a day.",
            next_step="Choose an earlier --from or a later --until.",
        )
    gate = until_us - (GATE_DAYS * DAY_US if length >= SHORT_SPAN_DAYS * DAY_US else length // 5)
    tune = gate - int((gate - since_us) * tune_share)
    return Split(since_us, tune, gate, until_us)
