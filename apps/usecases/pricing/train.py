"""How demand models learn: every known zone and hour is a row, its pickups and drop-offs are what is to be expected."""

import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.training.recipe import ModelSpec, Target
from bottega.training.settings import CountNetworkSettings, CountSettings
from usecases.pricing import features

target = Target("pickups", "trips", answer="requests", low="requests_low", high="requests_high")

expected = {"requests_mean": "pickups", "cars_mean": "dropoffs"}

inputs = (
    *("hour", "weekday", "usual_log", "day_log", "level_log"),
    *(f"p{h}" for h in features.RECENT_H),
    *features.recent.outputs,
    *features.level.outputs,
    *features.means.outputs,
    *features.lags.outputs,
    *features.wide_lags.outputs,
    *features.weeks.outputs,
    *(f"n{h}" for h in features.NEAR_H),
    *features.supply.outputs,
    *("d1", "d2", "d3"),
)

models = (
    ModelSpec("boosting", inputs, CountSettings()),
    ModelSpec("network", ("zone", *inputs), CountNetworkSettings(ids=("zone",))),
)


def labels(sources: Sources) -> pd.DataFrame:
    """One row a zone and known hour: asked when the hour begins, known when it has ended."""
    demand = sources["demand"]
    at_us = demand["hour"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)
    return pd.DataFrame(
        {
            "zone": demand["zone"].to_numpy(np.int32),
            "at": at_us,
            "requested_at": demand["hour"],
            "pickups": demand["pickups"].to_numpy(np.float64),
            "dropoffs": demand["dropoffs"].to_numpy(np.float64),
            "label_at": demand["hour"] + pd.Timedelta(hours=1),
        },
        index=demand.index,
    )
