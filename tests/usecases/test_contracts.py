"""Every use case keeps every contract of tests/checks.py."""

import subprocess
import sys

import pytest

from bottega.errors import NotFound
from bottega.progress import silent
from bottega.times import to_epoch_us
from usecases import discover, find

NAMES = sorted(discover())


def test_there_is_a_use_case_and_an_unknown_one_is_named():
    assert "eta" in NAMES
    with pytest.raises(NotFound, match=r"no use case 'nope'\. There are: .*eta"):
        find("nope")


def test_declarations_are_light():
    heavy = ("torch", "xgboost", "sklearn", "onnx", "onnxruntime", "mlflow", "evidently", "ibis", "duckdb")
    code = f"import sys, usecases; usecases.discover(); sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_declaration(checks, name):
    usecase = find(name)
    checks.check_files(usecase)
    for spec in usecase.recipe.models:
        checks.check_plan(usecase, spec)
    checks.check_views(usecase)
    checks.check_functions(usecase)
    checks.check_monitor(usecase)
    checks.check_no_leak(usecase)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_requests_with_answers_that_came_later(checks, gathered, name):
    checks.check_labels(find(name), gathered(name).sources)


@pytest.mark.parametrize("name", NAMES)
def test_answers_of_every_model(checks, run, name, tmp_path):
    for candidate in run(name).candidates:
        loaded = checks.check_package(candidate.package, tmp_path / candidate.name)
        checks.check_answers(find(name), loaded)
        checks.check_answers_alone(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_the_candidate_beats_the_baseline(checks, run, name):
    outcome = run(name)
    assert outcome.decision.passed, outcome.decision.reason
    checks.check_held_back(find(name), outcome)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_training_again_gives_the_same_figures(checks, run, gathered, name):
    again = checks.train_small(find(name), gathered(name))
    for before, after in zip(run(name).candidates, again.candidates, strict=True):
        assert after.evaluation == before.evaluation
        assert after.package.model == before.package.model


@pytest.mark.parametrize("name", NAMES)
def test_a_package_is_evaluated_on_rows(run, gathered, name):
    usecase, outcome, found = find(name), run(name), gathered(name)
    evaluation = usecase.recipe.evaluate(
        outcome.package, found.sources, outcome.gate_us, to_epoch_us(found.span[1]), silent
    )
    assert evaluation.rows > 0
    assert evaluation.metrics
    assert all(isinstance(value, float) for value in evaluation.metrics.values())
