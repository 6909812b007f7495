"""The contracts that every use case must pass, whatever it predicts. A new use case is held to them by existing."""

import dataclasses
from pathlib import Path

import msgspec
import numpy as np

from bottega.features.plan import FeaturePlan
from bottega.features.static import StaticView
from bottega.features.steps import Columns, Function, Lookup, Online, Stack
from bottega.features.view import FeatureView
from bottega.training.examples import Examples
from bottega.training.package import ModelPackage
from bottega.training.recipe import ModelSpec
from bottega.training.reference import Reference
from bottega.training.residual import ResidualRecipe
from bottega.training.settings import BoostingSettings, NetworkSettings
from bottega.usecase import UseCase


def small_models(usecase: UseCase) -> ResidualRecipe:
    """The use case's recipe with models that learn in seconds."""
    return dataclasses.replace(
        usecase.recipe, models=tuple(dataclasses.replace(s, settings=_small(s)) for s in usecase.recipe.models)
    )


def _small(spec: ModelSpec) -> BoostingSettings | NetworkSettings:
    if isinstance(spec.settings, BoostingSettings):
        return dataclasses.replace(spec.settings, rounds=40, patience=10, depth=5, learning_rate=0.2)
    return dataclasses.replace(spec.settings, width=4, buckets=8, hash_size=64, hidden=16, epochs=1)


def check_plan(usecase: UseCase, spec: ModelSpec) -> None:
    """The plan is data, and every column that a step reads was made before it."""
    plan = usecase.recipe.plan(spec)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=FeaturePlan) == plan
    ready = {field.name for field in plan.request}
    for step in plan.steps:
        missing = set(step.reads()) - ready
        assert not missing, f"{step} reads {missing}, which no step before it makes"
        assert not set(step.makes()) & ready, f"{step} makes a column again"
        ready |= set(step.makes())
    assert {field.name for field in plan.answer} <= ready


def check_views(usecase: UseCase) -> None:
    """Every feature that the plans read exists in a declared view, with the right number of keys."""
    views = {view.name: view for view in usecase.views}
    for spec in usecase.recipe.models:
        for step in usecase.recipe.plan(spec).steps:
            if isinstance(step, Online):
                view = views[step.view]
                assert isinstance(view, FeatureView)
            elif isinstance(step, Lookup) and step.table in views:
                view = views[step.table]
                assert isinstance(view, StaticView)
            else:
                continue
            assert len(step.keys) == len(view.entity.keys)
            for feature in step.outputs.values():
                view.feature(feature)


def check_functions(usecase: UseCase) -> None:
    """Every function that a plan names is declared with the same inputs and outputs."""
    declared = {f.name: f for f in (*usecase.recipe.functions, *usecase.recipe.answers)}
    for spec in usecase.recipe.models:
        for step in usecase.recipe.plan(spec).steps:
            if isinstance(step, Function):
                assert (declared[step.name].inputs, declared[step.name].outputs) == (step.inputs, step.outputs)


def check_no_leak(usecase: UseCase, known_later: set[str]) -> None:
    """No column that is known only after the fact is asked for or fed to a model."""
    for spec in usecase.recipe.models:
        plan = usecase.recipe.plan(spec)
        stack = next(step for step in plan.steps if isinstance(step, Stack))
        used = {field.name for field in plan.request} | set(stack.inputs)
        for step in plan.steps:
            used |= set(step.reads())
        assert not used & (known_later | {usecase.target.label})


def check_monitor(usecase: UseCase) -> None:
    """What is watched is asked or answered."""
    answers = {field.name for field in usecase.answer}
    asked = {field.name for field in usecase.request}
    assert usecase.monitor.predicted == usecase.target.answer
    assert {usecase.monitor.predicted, usecase.monitor.low, usecase.monitor.high} - {None} <= answers
    assert {column.name for column in usecase.monitor.columns} <= answers | asked
    assert {usecase.target.answer, usecase.target.low, usecase.target.high} <= answers


def check_answers(usecase: UseCase, package: ModelPackage, examples: Examples) -> Columns:
    """Answers are finite, and the interval holds the estimate. Returns them."""
    found = Reference(package).predict(examples.request, examples.given)
    assert list(found) == [field.name for field in usecase.answer]
    for name, column in found.items():
        assert column.shape == (len(examples),)
        assert np.isfinite(column).all(), f"{name} is not finite in {np.count_nonzero(~np.isfinite(column))} rows"
    target = usecase.target
    assert (found[target.low] <= found[target.answer]).all()
    assert (found[target.answer] <= found[target.high]).all()
    return found


def check_answers_alone(usecase: UseCase, package: ModelPackage, examples: Examples) -> None:
    """A request's answer does not depend on the batch that it comes in."""
    together = Reference(package).predict(examples.request, examples.given)
    for row in range(0, len(examples), max(1, len(examples) // 5)):
        one = examples.where(np.arange(row, row + 1))
        alone = Reference(package).predict(one.request, one.given)
        for name, column in alone.items():
            np.testing.assert_allclose(column[0], together[name][row], rtol=1e-5)


def check_package(package: ModelPackage, folder: Path) -> ModelPackage:
    """A package comes back from disk as it went, and answers the same. Returns what came back."""
    package.save(folder)
    loaded = ModelPackage.load(folder)
    assert loaded.info == package.info
    assert loaded.functions == package.functions
    before, after = (Reference(p).parts.predict(p.inputs) for p in (package, loaded))
    np.testing.assert_array_equal(before, after)
    return loaded
