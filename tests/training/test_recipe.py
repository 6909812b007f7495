import dataclasses

import msgspec
import pytest

from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan, needed
from bottega.features.steps import Calendar, Function, Lookup, Online, Stack
from bottega.training.recipe import ModelSpec


def test_a_plan_holds_only_the_steps_that_its_model_needs(recipe):
    full = recipe.plan(recipe.models[0])
    lean = recipe.plan(ModelSpec("lean", ("hour",), recipe.models[0].settings))
    assert any(isinstance(step, Online) for step in full.steps)
    assert not any(isinstance(step, Online) for step in lean.steps)
    assert {step.name for step in lean.steps if isinstance(step, Function)} == {"great_circle_km", "minutes"}
    assert lean.features == ("hour",)


def test_a_plan_survives_json(recipe):
    for spec in recipe.models:
        plan = recipe.plan(spec)
        assert msgspec.json.decode(msgspec.json.encode(plan), type=FeaturePlan) == plan


def test_needed_keeps_order_and_drops_what_contributes_nothing():
    calendar = Calendar("at", "UTC", {"hour": "hour"})
    used, unused = Lookup("t", ("hour",), {"x": "x"}), Lookup("u", ("hour",), {"y": "y"})
    stack = Stack(("x",), "features")
    assert needed((calendar, used, unused, stack), ["features"]) == (calendar, used, stack)


def test_an_encoding_without_its_mean_is_refused(recipe):
    with pytest.raises(InvalidInput, match="log_mean"):
        dataclasses.replace(recipe, encoded={"rows": "log_rows"})
