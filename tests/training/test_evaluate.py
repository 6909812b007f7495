import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.training.evaluate import evaluate_package, predict_examples, score
from bottega.training.examples import make_examples
from bottega.training.lateness import Lateness

LATENESS = Lateness(tolerance=3.0, weight=2.0)


def some_answers(rows=1000):
    rng = np.random.default_rng(0)
    actual = rng.uniform(5, 30, rows)
    predicted = actual + rng.normal(0.5, 3, rows)
    return pd.DataFrame(
        {
            "actual": actual,
            "predicted": predicted,
            "low": predicted - 3,
            "high": predicted + 3,
            "baseline": 15.0,
            "router": np.nan,
        }
    )


def test_metrics_equal_numpy():
    answers = some_answers()
    found = score(answers, "min", {}, LATENESS).metrics
    error = answers["predicted"] - answers["actual"]
    assert found["mae_min"] == pytest.approx(error.abs().mean())
    assert found["baseline_mae_min"] == pytest.approx((15 - answers["actual"]).abs().mean())
    assert found["p90_abs_error_min"] == pytest.approx(np.quantile(error.abs(), 0.9))
    assert found["coverage_80"] == pytest.approx((error.abs() <= 3).mean())
    assert found["bias_min"] == pytest.approx(error.mean())
    assert found["interval_width_min"] == pytest.approx(6.0)


def test_a_late_arrival_costs_more_than_an_early_one():
    answers = some_answers()
    error = answers["predicted"] - answers["actual"]
    found = score(answers, "min", {}, LATENESS).metrics
    assert found["late_over_3_min"] == (error < -3).mean()
    assert found["early_over_3_min"] == (error > 3).mean()
    assert found["cost_late_2_to_1_min"] == pytest.approx((2 * error.clip(upper=0).abs() + error.clip(lower=0)).mean())
    shifts = np.linspace(-8, 8, 1601)
    costs = [LATENESS.measure(error.to_numpy() + shift, "min")["cost_late_2_to_1_min"] for shift in shifts]
    assert (error + shifts[np.argmin(costs)] >= 0).mean() == pytest.approx(2 / 3, abs=0.01)


def test_the_router_is_judged_where_it_knows_a_route():
    answers = some_answers()
    assert "router_mae_min" not in score(answers, "min", {}, LATENESS).metrics
    answers.loc[:99, "router"] = answers["actual"] + 2
    assert score(answers, "min", {}, LATENESS).metrics["router_mae_min"] == pytest.approx(2)


def test_the_least_covered_group_is_named():
    answers = some_answers()
    group = np.where(np.arange(1000) % 2, "odd", "even")
    answers.loc[group == "even", ["low", "high"]] = 1.0
    found = score(answers, "min", {"group": group}, LATENESS)
    assert [(s.value, s.coverage > 0) for s in found.least_covered] == [("even", False), ("odd", True)]


def test_slices_need_rows_and_the_worst_are_named():
    answers = some_answers()
    group = np.where(np.arange(1000) < 150, "few", np.where(np.arange(1000) % 2, "odd", "even"))
    answers.loc[group == "odd", "predicted"] += 10
    found = score(answers, "min", {"group": group}, LATENESS, minimum_rows=200)
    assert [s.value for s in found.slices] == ["even", "odd"]
    assert found.worst[0].value == "odd"
    assert found.worst[0].rows == (group == "odd").sum()
    odd = answers[group == "odd"]
    assert found.worst[0].mae == pytest.approx((odd["predicted"] - odd["actual"]).abs().mean())


def test_no_rows_are_refused():
    with pytest.raises(InvalidInput, match="no row"):
        score(some_answers().iloc[:0], "min", {}, LATENESS)


def test_a_package_is_scored_on_new_trips(outcome, recipe, trips, zones, span):
    fresh = {"trips": trips(2000, seed=9), "zones": zones}
    examples = make_examples(recipe, fresh, *span)
    found = evaluate_package(outcome.package, recipe, examples)
    answers = predict_examples(outcome.package, recipe, examples)
    assert found.rows == 2000
    assert found.metrics["mae_min"] == pytest.approx((answers["predicted"] - answers["actual"]).abs().mean())
    assert found.metrics["mae_min"] < found.metrics["baseline_mae_min"]
    assert 0.75 < found.metrics["coverage_80"] < 0.85


def test_an_unknown_zone_is_refused(outcome, recipe, trips, zones, span):
    strange = trips(300, seed=9)
    strange.loc[5, "do_zone"] = 77
    examples = make_examples(recipe, {"trips": strange, "zones": zones}, *span)
    with pytest.raises(InvalidInput, match="do_zone 77 is unknown"):
        evaluate_package(outcome.package, recipe, examples)
