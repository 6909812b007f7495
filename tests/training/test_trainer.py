import dataclasses

import msgspec
import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.features.plan import run_steps
from bottega.features.steps import Parts
from bottega.training.examples import make_examples
from bottega.training.outcome import Origin
from bottega.training.reference import Reference
from bottega.training.settings import Effort
from bottega.training.trainer import train


def test_both_models_beat_the_baseline_and_the_better_one_is_chosen(outcome):
    assert [c.name for c in outcome.candidates] == ["boosting", "deepeta"]
    for candidate in outcome.candidates:
        assert candidate.loss < candidate.evaluation.metrics["baseline_mae_min"]
    assert outcome.chosen.loss == min(c.loss for c in outcome.candidates)
    assert outcome.decision.passed
    assert outcome.challengers[0] is not outcome.chosen


def test_the_best_possible_error_is_nearly_reached(outcome, sources):
    noise = sources["trips"]["duration_min"].mean() * 0.2 * np.sqrt(2 / np.pi)
    assert noise < outcome.chosen.loss < 1.35 * noise


def test_parts_do_not_overlap_and_labels_are_known_in_time(outcome, sources, span):
    held = outcome.chosen.held_back
    assert (held["at"].astype("int64") >= outcome.gate_us).all()
    assert (held["label_at"].astype("int64") <= span[1]).all()
    trips = sources["trips"]
    known = trips["dropoff_at"].astype("int64") <= span[1]
    early = trips["pickup_at"].astype("int64") >= outcome.gate_us
    assert len(held) == (known & early).sum()


def test_the_chosen_model_learns_again_from_the_whole_span(outcome):
    judged, final = outcome.chosen.package.info, outcome.package.info
    assert final.trained.rows > judged.trained.rows
    assert final.trained.until > judged.trained.until
    assert final.metrics == judged.metrics == outcome.chosen.evaluation.metrics
    assert final.trained.fingerprint == "f1"
    assert final.git_commit == "abc"
    assert len(outcome.own) == final.trained.rows


def test_the_same_seed_gives_the_same_figures_and_bytes(run, outcome, recipe):
    again = run(recipe=dataclasses.replace(recipe, models=recipe.models[:1]))
    assert again.candidates[0].evaluation == outcome.candidates[0].evaluation
    assert again.candidates[0].package.model == outcome.candidates[0].package.model


def test_trips_after_the_span_change_nothing_that_is_learned(run, outcome, sources, trips, span):
    """Retraining beside trips of the days that follow, and slow ones, gives the same bytes."""
    later = trips(2000, seed=8, slower=4.0, start=pd.Timestamp(span[1], unit="us", tz="UTC"))
    both = pd.concat([sources["trips"], later.assign(trip_id=later["trip_id"] + 90_000)], ignore_index=True)
    again = run(sources=dict(sources) | {"trips": both})
    assert again.chosen.evaluation == outcome.chosen.evaluation
    assert again.package.model == outcome.package.model
    for name, table in outcome.package.tables.items():
        for column, values in table.columns.items():
            np.testing.assert_array_equal(values, again.package.tables[name].columns[column])


def test_the_reference_equals_the_recipe_run_by_hand(outcome, recipe, sources, span):
    examples = make_examples(recipe, sources, *span).where(np.arange(300))
    for package in (outcome.package, outcome.challengers[0].package):
        reference = Reference(package)
        found = reference.columns(examples.request, examples.given)
        functions = {f.name: f for f in (*recipe.functions, *recipe.answers)}
        parts = Parts(package.tables, functions, reference.parts.read_online, reference.parts.predict)
        expected = run_steps(package.info.plan.steps, examples.request, parts, examples.given)
        for name in recipe.answer_names():
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
        np.testing.assert_allclose(found["eta_min"], np.exp(found["pair_log"] + found["residual"]), rtol=1e-12)
        assert (found["low_min"] <= found["eta_min"]).all()
        assert (found["eta_min"] <= found["high_min"]).all()


def test_a_retrained_model_must_beat_the_champion(run, span, outcome, recipe, sources):
    boosting = dataclasses.replace(recipe, models=recipe.models[:1])
    same = run(recipe=boosting, champion=outcome.package)
    assert same.decision.passed  # the same data again: as good as before is good enough
    better_once = with_recorded_error(outcome.package, 0.9 * same.chosen.loss)
    assert not run(recipe=boosting, champion=better_once).decision.passed
    slow = {**sources, "trips": sources["trips"].assign(duration_min=lambda t: t["duration_min"] * 1.5)}
    champion = outcome.package
    better = train(
        "eta",
        boosting,
        slow,
        *span,
        Origin("village", "f2"),
        champion=champion,
        effort=Effort(seed=3, threads=1),
    )
    assert better.decision.passed
    assert better.rival.mae > 1.5 * better.chosen.loss


def with_recorded_error(package, mae):
    info = msgspec.structs.replace(package.info, metrics={**package.info.metrics, "mae_min": mae})
    return dataclasses.replace(package, info=info)


def test_too_few_rows_are_refused(recipe, trips, sources, span):
    with pytest.raises(InvalidInput, match="500 are the least"):
        train("eta", recipe, dict(sources) | {"trips": trips(700, 0)}, *span, Origin("v", "f"))


def test_quick_takes_fewer_rounds(run, recipe):
    boosting = dataclasses.replace(recipe, models=recipe.models[:1])
    quick = run(recipe=boosting, effort=Effort(seed=3, threads=1, quick=True))
    assert quick.chosen.fitted.length <= recipe.models[0].settings.rounds // 3
