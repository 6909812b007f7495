"""Lab 00, "The loop": one way to write the three functions."""

import numpy as np
import pandas as pd


def time_split(table: pd.DataFrame, at: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was known at `at`, and what was still to come."""
    train = table[table["dropoff_at"] <= at]
    test = table[table["pickup_at"] >= at]
    return train, test


def pair_median(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Median of the zone pair, else of the pickup zone, else of all training trips."""
    by_pair = train.groupby(["pu_zone", "do_zone"])["duration_min"].median()
    by_pickup = train.groupby("pu_zone")["duration_min"].median()
    pairs = pd.MultiIndex.from_frame(test[["pu_zone", "do_zone"]])
    pair = by_pair.reindex(pairs).to_numpy()
    pickup = by_pickup.reindex(test["pu_zone"]).to_numpy()
    everything = train["duration_min"].median()
    return np.where(~np.isnan(pair), pair, np.where(~np.isnan(pickup), pickup, everything))


def should_alarm(residuals: np.ndarray, reference: list[np.ndarray]) -> bool:
    """Today's median against the mean and the spread of the quiet days' medians."""
    quiet = np.array([np.median(day) for day in reference])
    return bool(abs(np.median(residuals) - quiet.mean()) > 3 * quiet.std())
