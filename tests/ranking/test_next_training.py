"""The recipe on small sessions: no end and no future is an input, unknown choices are misses, figures come back."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.guide_labels import with_traits
from bottega.datasets.reading import Sources
from bottega.datasets.sessions import ACTIONS, load_sessions
from bottega.errors import InvalidInput
from bottega.progress import silent
from bottega.ranking.judgement import places
from bottega.ranking.next_recipe import NextRecipe
from bottega.ranking.settings import BackOffSettings, TowerSettings
from bottega.times import DAY_US
from bottega.training.gate import Gate
from bottega.training.outcome import Origin, Outcome
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference
from bottega.training.settings import Effort
from usecases import find

RESTAURANTS, SESSIONS = 15, 1200
SPAN = (0, 30 * DAY_US)


def invent() -> Sources:
    """A critique leads two restaurants further, browsing one; sessions of one to four events."""
    rng = np.random.default_rng(8)
    started = pd.to_datetime(np.sort(rng.integers(*SPAN, SESSIONS)), unit="us", utc=True).as_unit("us")
    events, ends = [], []
    for number in range(SESSIONS):
        item = int(rng.integers(RESTAURANTS))
        for step in range(int(rng.integers(1, 5))):
            action = int(rng.integers(2))
            events.append((number, step, item, action))
            item = (item + 1 + action) % RESTAURANTS
        ends.append(item)
    sessions = pd.DataFrame({"session_id": range(SESSIONS), "started_at": started, "user_id": 0})
    features = [["Thai" if i % 2 else "Greek", "below $15" if i % 3 else "$15-$30"] for i in range(RESTAURANTS)]
    restaurants = pd.DataFrame(
        {"restaurant_id": range(RESTAURANTS), "name": [f"No {i}" for i in range(RESTAURANTS)], "features": features}
    )
    return {
        "sessions": sessions.assign(end_restaurant=pd.array(ends, dtype="Int64")),
        "events": pd.DataFrame(events, columns=["session_id", "step", "restaurant_id", "action"]),
        "restaurants": with_traits(restaurants),
    }


SMALL = {
    "two_towers": TowerSettings(width=16, hidden=16, epochs=10, batch=64, steps=1),
    "back_off": BackOffSettings(),
}
USECASE = find("recommendations")
RECIPE = dataclasses.replace(
    USECASE.recipe,
    models=tuple(dataclasses.replace(spec, settings=SMALL[spec.name]) for spec in USECASE.recipe.models),
    candidates=RESTAURANTS,
)


COUNTED = dataclasses.replace(RECIPE, models=RECIPE.models[1:])


def run(recipe: NextRecipe, sources: Sources, champion: ModelPackage | None = None, margin: float = 0.0) -> Outcome:
    return recipe.train(
        "recommendations", sources, *SPAN, Origin("invented", "f" if champion is None else "g"),
        champion=champion, gate=Gate(margin), effort=Effort(seed=1, threads=1), progress=silent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sources() -> Sources:
    return invent()


@pytest.fixture(scope="module")
def outcome(sources: Sources) -> Outcome:
    return run(RECIPE, sources)


def test_both_models_learn_and_the_better_one_is_chosen(outcome: Outcome) -> None:
    assert outcome.decision.passed, outcome.decision.reason
    assert [candidate.name for candidate in outcome.candidates] == ["two_towers", "back_off"]
    assert outcome.chosen.loss == min(candidate.loss for candidate in outcome.candidates)
    metrics = outcome.chosen.evaluation.metrics
    assert metrics["mrr_at_10_session"] > 0.9 > metrics["mrr_at_10_session_co_visits"]
    assert outcome.chosen.evaluation.rows == int(SESSIONS * 0.1)


def test_what_the_gate_judges_by_is_not_learned_from(sources: Sources, outcome: Outcome) -> None:
    """Other sessions in the gate's part change no candidate."""
    late = sources["sessions"]["started_at"].astype("datetime64[us, UTC]").astype("int64") >= outcome.gate_us
    ids = sources["sessions"]["session_id"][late]
    events = sources["events"].copy()
    changed = events["session_id"].isin(ids)
    events.loc[changed, "restaurant_id"] = (events.loc[changed, "restaurant_id"] + 4) % RESTAURANTS
    candidates = [run(COUNTED, each).candidates[0] for each in (sources, {**sources, "events": events})]
    assert candidates[0].package.model == candidates[1].package.model
    assert candidates[0].evaluation != candidates[1].evaluation


def test_an_answer_does_not_depend_on_the_end(sources: Sources, outcome: Outcome) -> None:
    ends = sources["sessions"]["end_restaurant"]
    other = {**sources, "sessions": sources["sessions"].assign(end_restaurant=(ends + 7) % RESTAURANTS)}
    right, wrong = (RECIPE.evaluate(outcome.package, each, *SPAN, silent).metrics for each in (sources, other))
    assert right["mrr_at_10_session"] > 2 * wrong["mrr_at_10_session"]
    assert right["coverage"] == wrong["coverage"]  # the lists are the same


def test_evaluating_needs_no_names_and_counts_unknown_choices_as_missed(sources: Sources, outcome: Outcome) -> None:
    bare = {**sources, "restaurants": sources["restaurants"][["restaurant_id"]]}
    assert RECIPE.evaluate(outcome.package, bare, *SPAN, silent) == RECIPE.evaluate(
        outcome.package, sources, *SPAN, silent
    )
    assert places(np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([1, 5])).tolist() == [2, 3]
    nobody = {**sources, "sessions": sources["sessions"].assign(end_restaurant=pd.array([None] * SESSIONS, "Int64"))}
    with pytest.raises(InvalidInput, match="has an end"):
        RECIPE.evaluate(outcome.package, nobody, *SPAN, silent)


def test_suggestions_obey_what_is_asked(outcome: Outcome) -> None:
    answered = Reference(outcome.package).predict(outcome.package.samples)
    asked = outcome.package.samples
    for row in range(len(asked["goal"])):
        shown = answered["suggestions"][row]
        assert not set(shown) & (set(asked["exclude"][row]) - {-1})
        assert len(set(shown)) == len(shown)
        assert list(answered["names"][row]) == [f"No {item}" for item in shown]
        assert all(answered["reasons"][row])
    cheaper = asked["actions"][:, 0] == ACTIONS.index("cheaper")
    assert any("cheaper than No" in reason for row in np.flatnonzero(cheaper) for reason in answered["reasons"][row])


def test_too_few_sessions_are_refused(sources: Sources) -> None:
    with pytest.raises(InvalidInput, match="1000 are the least"):
        run(COUNTED, {**sources, "sessions": sources["sessions"][:900]})


def test_the_champion_is_met_on_sessions_that_it_has_not_learned_from(sources: Sources, outcome: Outcome) -> None:
    again = run(COUNTED, sources, champion=outcome.package, margin=0.5)
    assert again.rival is not None and "flatters" in again.rival.remark
    assert not again.decision.passed and "champion" in again.decision.reason


@pytest.mark.slow
@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder with real data")
def test_counts_of_real_sessions_predict_the_next_quarter() -> None:
    sources = load_sessions(Path(os.environ["BOTTEGA_DATA"]) / "entree_chicago").tables
    cut, end = (int(pd.Timestamp(day, tz="UTC").timestamp() * 1e6) for day in ("1998-10-01", "1999-01-01"))
    counted = dataclasses.replace(USECASE.recipe, models=USECASE.recipe.models[1:])
    effort = Effort(seed=1, threads=1)
    found = counted.train(
        "recommendations", sources, 0, cut, Origin("real", "f"),
        champion=None, gate=Gate(), effort=effort, progress=silent,
    )  # fmt: skip
    metrics = counted.evaluate(found.package, sources, cut, end, silent).metrics
    assert metrics["hit_at_10_first"] > 0.67
    assert metrics["hit_at_10_session"] > 0.73
    assert metrics["hit_at_10_critique"] > 0.95 > metrics["hit_at_10_browse"]
    assert metrics["hit_at_10_session_popularity"] < 0.15
