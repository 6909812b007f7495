"""Counts against plain loops, and the counted model against its own table."""

import numpy as np
import onnxruntime
import pytest

from bottega.datasets.sessions import ACTIONS
from bottega.ranking.back_off import back_off, first_sequels, fit_back_off, popularity, sequels
from bottega.ranking.judgement import model_input
from bottega.ranking.session_rows import NOBODY, SessionRows
from bottega.ranking.settings import BackOffSettings

RESTAURANTS = 12


def invent(sessions: int, longest: int = 6, restaurants: int = RESTAURANTS, seed: int = 2) -> SessionRows:
    """Sessions in which one restaurant mostly leads to the next."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, longest + 1, sessions)
    filled = np.arange(longest) < length[:, None]
    path = (rng.integers(0, restaurants, (sessions, 1)) + np.arange(longest + 1)) % restaurants
    path = np.where(rng.uniform(size=path.shape) < 0.1, rng.integers(0, restaurants, path.shape), path)
    items = np.where(filled, path[:, :longest], NOBODY)
    actions = np.where(filled, rng.integers(0, len(ACTIONS), (sessions, longest)), NOBODY)
    end = np.where(rng.uniform(size=sessions) < 0.1, NOBODY, path[np.arange(sessions), length])
    first = np.stack([items[:, 0], actions[:, 0]], 1)
    number = np.arange(sessions)
    return SessionRows(number, number * 1_000_000, items, actions, length, first, end)


def test_counts_are_those_of_a_loop() -> None:
    rows = invent(60)
    every, first = (np.zeros((RESTAURANTS, len(ACTIONS), RESTAURANTS)) for _ in range(2))
    for row in range(60):
        steps = list(zip(rows.items[row], rows.actions[row], strict=True))[: rows.length[row]]
        after = [*(item for item, _ in steps[1:]), rows.end[row]]
        for (item, action), wanted in zip(steps, after, strict=True):
            if wanted != NOBODY:
                every[item, action, wanted] += 1
        if rows.end[row] != NOBODY:
            first[*steps[0], rows.end[row]] += 1
    np.testing.assert_array_equal(sequels(rows, RESTAURANTS), every)
    np.testing.assert_array_equal(first_sequels(rows, RESTAURANTS), first)
    assert popularity(rows, RESTAURANTS).sum() == np.count_nonzero(rows.end != NOBODY) + RESTAURANTS


def test_rare_contexts_lean_on_wider_ones() -> None:
    counts = np.zeros((2, len(ACTIONS), 2), np.float32)
    counts[0, 0] = [90, 10]
    counts[0, 1] = [0, 1]
    found = back_off(counts, doubt=1.0)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert found[0, 0, 0] == pytest.approx(0.9, abs=0.01)  # seen often: its own share
    assert 0.3 < found[0, 1, 0] < 0.6  # seen once: halfway to the restaurant's
    np.testing.assert_allclose(found[0, 2], found[0, 3])  # never seen: the restaurant's
    assert found[1, 0, 0] > found[1, 0, 1]  # an unknown restaurant: what is popular


def test_the_model_answers_its_table() -> None:
    rows, events = invent(300), 4
    fitted = fit_back_off(rows, RESTAURANTS, events, BackOffSettings())
    session = onnxruntime.InferenceSession(fitted.model)
    item, action = (column[:, 0] for column in rows.newest(1))
    for goal, counts in enumerate((sequels(rows, RESTAURANTS), first_sequels(rows, RESTAURANTS))):
        (found,) = session.run(None, {"features": model_input(rows, events, goal)})
        np.testing.assert_array_equal(found, back_off(counts, 1.0)[item, action])
