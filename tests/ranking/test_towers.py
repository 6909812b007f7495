"""The network as served is the one that was trained; it learns; no end is an input; the same seed gives the same."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
import torch

from bottega.ranking.judgement import judge_baselines, judge_rows, model_input
from bottega.ranking.rank_metrics import hit_at, ranks
from bottega.ranking.session_rows import NOBODY, SessionRows
from bottega.ranking.settings import TowerSettings
from bottega.ranking.towers import GOALS, Served, Towers
from bottega.ranking.towers_fit import fit_towers, learn_towers, vectors

RESTAURANTS = 12
SETTINGS = TowerSettings(events=4, longest=6, width=16, hidden=16, epochs=12, steps=1, batch=64, dropout=0.0)
LABELS = (np.arange(RESTAURANTS)[:, None] % 3 == np.arange(3)).astype(np.float32)


def invent(sessions: int, seed: int) -> SessionRows:
    """A critique (action 1) leads two restaurants further, browsing one."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 7, sessions)
    actions = rng.integers(0, 2, (sessions, 6))
    way = np.concatenate([np.zeros((sessions, 1), int), np.cumsum(actions + 1, axis=1)], axis=1)
    path = (rng.integers(0, RESTAURANTS, (sessions, 1)) + way) % RESTAURANTS
    filled = np.arange(6) < length[:, None]
    items, actions = np.where(filled, path[:, :6], NOBODY), np.where(filled, actions, NOBODY)
    end = path[np.arange(sessions), length]
    number = np.arange(sessions)
    return SessionRows(number, number, items, actions, length, np.stack([items[:, 0], actions[:, 0]], 1), end)


@pytest.fixture(scope="module")
def fitted() -> tuple[bytes, Towers]:
    found, towers = fit_towers(invent(600, 1), LABELS, SETTINGS, seed=3, threads=1)
    return found.model, towers


def test_what_is_served_is_what_was_trained(fitted: tuple[bytes, Towers]) -> None:
    model, towers = fitted
    rows = invent(100, 2)
    rows = rows.where(rows.length <= SETTINGS.events)
    items, actions = torch.from_numpy(rows.items), torch.from_numpy(rows.actions)
    last = torch.arange(len(rows)), torch.from_numpy(rows.length - 1)
    session = onnxruntime.InferenceSession(model)
    for goal in range(len(GOALS)):
        with torch.no_grad():
            scores = towers.eval().scores(towers.states(items, actions)[last], towers.seen_at(items)[last], goal)
        (found,) = session.run(None, {"features": model_input(rows, SETTINGS.events, goal)})
        np.testing.assert_allclose(found, torch.softmax(scores, 1).numpy(), atol=1e-5)


def test_it_learns_what_actions_do(fitted: tuple[bytes, Towers]) -> None:
    rows, session = invent(300, 4), onnxruntime.InferenceSession(fitted[0])
    (found,) = session.run(None, {"features": model_input(rows, SETTINGS.events, 0)})
    assert hit_at(ranks(found, rows.end), 1) > 0.9


def test_ids_that_are_none_are_harmless(fitted: tuple[bytes, Towers]) -> None:
    session = onnxruntime.InferenceSession(fitted[0])
    matrix = np.full((3, 2 * SETTINGS.events + 1), [[-1], [1e9], [np.nan]], np.float32)
    matrix[:, -1] = 0
    (found,) = session.run(None, {"features": matrix})
    assert np.isfinite(found).all()


def test_an_end_is_no_input(fitted: tuple[bytes, Towers]) -> None:
    rows = invent(50, 5)
    other = dataclasses.replace(rows, end=(rows.end + 5) % RESTAURANTS)
    np.testing.assert_array_equal(model_input(rows, 4, 0), model_input(other, 4, 0))
    predict = Served(fitted[1]).eval()

    def run(matrix: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return predict(torch.from_numpy(matrix)).numpy()

    chosen = np.ones(RESTAURANTS)
    right, wrong = (judge_rows(run, each, 4, chosen)["mrr_at_10_session"] for each in (rows, other))
    assert right > 2 * wrong  # whoever read the end would do as well on wrong ends


def test_the_same_seed_gives_the_same_towers(fitted: tuple[bytes, Towers]) -> None:
    same, other = (learn_towers(invent(600, 1), LABELS, SETTINGS, seed=seed, threads=1)[0] for seed in (3, 4))
    for name, values in fitted[1].state_dict().items():
        assert torch.equal(values, same.state_dict()[name])
    assert not torch.equal(same.own.weight, other.own.weight)


def test_the_towers_product_is_the_score_without_the_pointer(fitted: tuple[bytes, Towers]) -> None:
    towers, rows = fitted[1], invent(40, 6)
    index, queries = vectors(towers, rows)
    items, actions = torch.from_numpy(rows.items), torch.from_numpy(rows.actions)
    last = torch.arange(len(rows)), torch.from_numpy(rows.length - 1)
    nothing = torch.full((len(rows), SETTINGS.events), -1)
    with torch.no_grad():
        scores = towers.scores(towers.states(items, actions)[last], nothing, 0).numpy()
    np.testing.assert_allclose(queries @ index.T, scores, atol=1e-4)


def test_baselines_learn_from_the_older_sessions() -> None:
    found = judge_baselines(invent(600, 1), invent(200, 7), RESTAURANTS)
    assert found["hit_at_10_session_co_visits"] == 1.0
    assert found["mrr_at_10_session_popularity"] < found["mrr_at_10_session_co_visits"]
