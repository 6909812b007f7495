"""Every use case keeps every contract of tests/checks.py."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from bottega.errors import NotFound
from bottega.training.examples import make_examples
from bottega.training.outcome import Origin
from bottega.training.settings import Effort
from bottega.training.trainer import train
from usecases import discover, find

KNOWN_LATER = {"distance_mi", "fare_usd", "duration_min", "speed_kmh", "dropoff_at", "passengers", "rate_code"}
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
    for spec in usecase.recipe.models:
        checks.check_plan(usecase, spec)
    checks.check_views(usecase)
    checks.check_functions(usecase)
    checks.check_monitor(usecase)
    checks.check_no_leak(usecase, KNOWN_LATER)


@pytest.mark.parametrize("name", NAMES)
def test_answers_of_every_model(checks, run, sources, span, name, tmp_path):
    usecase, outcome = find(name), run(name)
    examples = make_examples(usecase.recipe, sources, outcome.gate_us, span[1]).where(np.arange(400))
    for candidate in outcome.candidates:
        loaded = checks.check_package(candidate.package, tmp_path / candidate.name)
        checks.check_answers(usecase, loaded, examples)
        checks.check_answers_alone(usecase, loaded, examples)


@pytest.mark.parametrize("name", NAMES)
def test_the_candidate_beats_the_baseline(run, name):
    outcome = run(name)
    assert outcome.decision.passed, outcome.decision.reason


@pytest.mark.parametrize("name", NAMES)
def test_training_again_gives_the_same_figures(checks, run, sources, span, name):
    recipe = checks.small_models(find(name))
    trees = dataclasses.replace(recipe, models=recipe.models[:1])
    again = train(name, trees, sources, *span, Origin("simulator", "f"), effort=Effort(seed=5, threads=1))
    first = next(c for c in run(name).candidates if c.name == trees.models[0].name)
    assert again.chosen.evaluation == first.evaluation
    assert again.chosen.package.model == first.package.model
