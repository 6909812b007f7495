"""Lab 00, "The loop": your part. Write the three functions, then run `bottega lab check 00`.

A table of trips has one row a trip and, among others, these columns:

    pickup_at, dropoff_at    when the trip began and ended (UTC)
    pu_zone, do_zone         where it began and ended (zone ids)
    duration_min             how long it took, in minutes: what we want to predict
"""

import numpy as np
import pandas as pd


def time_split(table: pd.DataFrame, at: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split `table` into (train, test) as if you stood at the moment `at`.

    train: the trips whose duration you knew at `at`: they had ended, so `dropoff_at` is at or before it.
    test:  the trips that were still to begin: `pickup_at` is at `at` or later.

    A trip that was under way at `at` is in neither: it had begun, but nobody knew yet how long it would take.
    """
    # TODO: return train, test
    raise NotImplementedError


def pair_median(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Predict each test trip's minutes, (rows of test,) floats in the order of test, from the training trips alone.

    1. the median duration of the training trips with the same pickup zone and the same dropoff zone;
    2. if there is none, the median of the training trips with the same pickup zone;
    3. if there is none either, the median of all training trips.
    """
    # TODO: return the predicted minutes
    raise NotImplementedError


def should_alarm(residuals: np.ndarray, reference: list[np.ndarray]) -> bool:
    """Whether today's errors are unlike those of the quiet days in `reference`.

    A residual is log(actual / predicted): 0 is perfect, above 0 the trip took longer than predicted, below 0 shorter.
    `residuals` are today's, `reference` has one array for each quiet day.

    Sum up each day by the median of its residuals. Alarm where today's median is more than three standard deviations
    away from the mean of the quiet days' medians, in either direction (the standard deviation of those medians).
    """
    # TODO: return True or False
    raise NotImplementedError
