"""The baseline that a model must beat: the median label of each pair of ids."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bottega.features.tables import Table

COLUMN = "median"


def fit_baseline(keys: Sequence[np.ndarray], label: np.ndarray, sizes: Sequence[int]) -> Table:
    """The median label of each (first, second) pair, of the first id where the pair was not seen, or of all.

    `keys` are two (rows,) columns of ids below `sizes`; every pair of the table is filled, so that it always answers.
    """
    frame = pd.DataFrame({"first": keys[0], "second": keys[1], "label": label})
    first = frame.groupby("first")["label"].median()
    fallback = first.reindex(np.arange(sizes[0])).fillna(frame["label"].median()).to_numpy()  # (sizes[0],)
    median = np.repeat(fallback, sizes[1])  # (sizes[0] * sizes[1],)
    pairs = frame.groupby(["first", "second"])["label"].median()
    entry = pairs.index.get_level_values(0).to_numpy() * sizes[1] + pairs.index.get_level_values(1).to_numpy()
    median[entry] = pairs.to_numpy()
    grid = np.divmod(np.arange(len(median)), sizes[1])
    return Table.from_keys(grid, {COLUMN: median}, sizes=sizes)


def predict_baseline(table: Table, keys: Sequence[np.ndarray]) -> np.ndarray:
    """The baseline's answer for each row, (rows,) float64."""
    return table.read(keys, [COLUMN])[0]
