"""Judging a ranker of restaurants: how high the choice stood, in lists of all restaurants, and what the lists show."""

import numpy as np

from bottega.datasets.sessions import ACTIONS
from bottega.features.steps import Predict
from bottega.ranking.back_off import popularity, sequels
from bottega.ranking.rank_metrics import SHOWN, beyond_accuracy, hit_at, mrr_at, ranks, shown
from bottega.ranking.session_rows import NOBODY, SessionRows, first_events

BATCH = 1024


def model_input(rows: SessionRows, events: int, goal: int) -> np.ndarray:
    """The model's matrix: the last events' restaurants and actions, the newest first, and the goal's place.

    (sessions, 2 events + 1) float32; nothing of a session's end is in it.
    """
    items, actions = rows.newest(events)
    return np.column_stack([items, actions, np.full(len(rows), goal)]).astype(np.float32)


def predict_rows(predict: Predict, rows: SessionRows, events: int, goal: int) -> np.ndarray:
    """The probabilities of all restaurants, (sessions, restaurants) float32."""
    matrix = model_input(rows, events, goal)
    return np.concatenate([predict(matrix[i : i + BATCH]) for i in range(0, len(matrix), BATCH)])


def places(scores: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Where each choice stands; one that the model does not know stands behind all others: (sessions,) int64."""
    known = end < scores.shape[1]
    found = np.full(len(end), scores.shape[1] + 1)
    found[known] = ranks(scores[known], end[known])
    return found


def judge_rows(predict: Predict, rows: SessionRows, events: int, chosen: np.ndarray) -> dict[str, float]:
    """All figures over the sessions whose end is known, each counted once; `chosen` (restaurants,) is the popularity.

    The task `first` knows a session's first event, `session` all of them. Critiques and browsing are told apart by the
    last action: what follows a critique is nearly always the same.
    """
    rows = rows.where(rows.end != NOBODY)
    session = predict_rows(predict, rows, events, 0)
    first = places(predict_rows(predict, first_events(rows), events, 1), rows.end)
    found = places(session, rows.end)
    browsed = rows.newest(1)[1][:, 0] == ACTIONS.index("browse")
    figures = {
        "hit_at_10_first": hit_at(first),
        "mrr_at_10_first": mrr_at(first),
        "hit_at_10_session": hit_at(found),
        "mrr_at_10_session": mrr_at(found),
        "hit_at_100_session": hit_at(found, 100),
    }
    for name, part in (("browse", browsed), ("critique", ~browsed)):
        if part.any():
            figures |= {f"hit_at_10_{name}": hit_at(found[part]), f"mrr_at_10_{name}": mrr_at(found[part])}
    return figures | beyond_accuracy(shown(session), chosen)


def judge_baselines(learned: SessionRows, rows: SessionRows, restaurants: int) -> dict[str, float]:
    """What needs no model: the most popular, and what most often followed the last restaurant seen."""
    return baselines(popularity(learned, restaurants), sequels(learned, restaurants).sum(1), rows)


def baselines(chosen: np.ndarray, after: np.ndarray, rows: SessionRows) -> dict[str, float]:
    """The figures of the popularity (restaurants,) and of `after` (restaurants, restaurants) on sessions."""
    rows = rows.where(rows.end != NOBODY)
    last = rows.newest(1)[0][:, 0]
    usual = np.broadcast_to(chosen / chosen.sum(), (len(rows), len(chosen)))
    likely = after / np.maximum(after.sum(1, keepdims=True), 1e-9) + usual[:1] * 1e-6  # what is equal, by popularity
    found = {"popularity": usual, "co_visits": likely[last]}
    return {
        f"{figure}_{name}": measure(places(scores, rows.end))
        for name, scores in found.items()
        for figure, measure in ((f"hit_at_{SHOWN}_session", hit_at), (f"mrr_at_{SHOWN}_session", mrr_at))
    }
