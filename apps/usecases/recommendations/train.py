"""How the rankers learn, and what the monitor compares with what."""

import numpy as np
import pandas as pd

from bottega.datasets.guide_labels import TRAITS
from bottega.datasets.reading import Sources
from bottega.ranking.settings import BackOffSettings, TowerSettings
from bottega.training.recipe import ModelSpec, Target
from usecases.recommendations.serve import EVENTS

target = Target("price_usd", "USD", answer="expected_price_usd")
"""The choice's price: the one thing about a choice that is a number, and known whatever was suggested."""

inputs = ("restaurants", "actions", "goal")

models = (
    ModelSpec("two_towers", inputs, TowerSettings(events=EVENTS)),
    ModelSpec("back_off", inputs, BackOffSettings()),
)

SESSION = pd.Timedelta("30min")
"""A session counts as over so long after its start: the log has no times of steps."""


def labels(sources: Sources) -> pd.DataFrame:
    """One row a session whose choice has a price: its events as a request, and the price, known when it was over."""
    price = sources["restaurants"].set_index("restaurant_id")[TRAITS[0]]
    sessions = sources["sessions"].set_index("session_id")
    sessions = sessions.assign(price_usd=sessions["end_restaurant"].map(price).astype(np.float64))
    sessions = sessions[sessions["price_usd"].notna()]
    newest_first = sources["events"].sort_values("step", ascending=False).groupby("session_id").head(EVENTS)
    seen = newest_first.groupby("session_id").agg({"restaurant_id": list, "action": list}).loc[sessions.index]
    return pd.DataFrame(
        {
            "restaurants": seen["restaurant_id"],
            "actions": seen["action"],
            "goal": 0,
            "exclude": [[] for _ in range(len(sessions))],
            "diversity": 0.0,
            "requested_at": sessions["started_at"],
            "price_usd": sessions["price_usd"],
            "label_at": sessions["started_at"] + SESSION,
        }
    ).set_index(pd.Index([f"session-{number}" for number in sessions.index], name="request_id"))
