"""The contracts that every use case must pass, whatever it predicts. A new use case is held to them by existing."""

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from bottega.datasets.reading import Gathered, Sources
from bottega.features.plan import FeaturePlan
from bottega.features.static import StaticView
from bottega.features.steps import Columns, Function, Lookup, Online
from bottega.features.view import FeatureView
from bottega.monitoring.reference import take_reference
from bottega.progress import silent
from bottega.times import to_epoch_us
from bottega.training.outcome import Origin, Outcome
from bottega.training.package import ModelPackage
from bottega.training.recipe import ModelSpec
from bottega.training.reference import Reference
from bottega.training.settings import Effort
from bottega.usecase import UseCase

FILES = {"__init__.py", "README.md", "features.py", "train.py", "serve.py", "usecase.py"}


def train_small(usecase: UseCase, gathered: Gathered) -> Outcome:
    """A training run with models that learn in seconds."""
    specs = [dataclasses.replace(s, settings=s.settings.quick().quick()) for s in usecase.recipe.models]
    recipe = dataclasses.replace(usecase.recipe, models=tuple(specs))
    since, until = map(to_epoch_us, gathered.span)
    return recipe.train(
        usecase.name,
        gathered.sources,
        since,
        until,
        Origin(gathered.data_source, gathered.fingerprint),
        champion=None,
        gate=usecase.gate,
        effort=Effort(seed=5, threads=1, quick=True),
        progress=silent,
    )


def check_files(usecase: UseCase) -> None:
    """The folder holds the files that a reader expects, the model card among them, and nothing else."""
    folder = importlib.import_module(f"usecases.{usecase.name}").__path__[0]
    assert {path.name for path in Path(folder).iterdir() if path.name != "__pycache__"} == FILES


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
    assert (plan.request, plan.answer) == (usecase.request, usecase.answer)


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


def check_no_leak(usecase: UseCase) -> None:
    """The label is not asked for, and no step reads it."""
    for spec in usecase.recipe.models:
        plan = usecase.recipe.plan(spec)
        used = {field.name for field in plan.request}.union(*(step.reads() for step in plan.steps))
        assert not used & {usecase.target.label, "label_at"}


def check_monitor(usecase: UseCase) -> None:
    """What is watched is asked or answered."""
    answers = {field.name for field in usecase.answer}
    asked = {field.name for field in usecase.request}
    assert usecase.monitor.predicted == usecase.target.answer
    assert {usecase.monitor.predicted, usecase.monitor.low, usecase.monitor.high} - {None} <= answers
    assert {column.name for column in usecase.monitor.columns} <= answers | asked
    assert {usecase.target.answer, usecase.target.low, usecase.target.high} - {""} <= answers


def check_labels(usecase: UseCase, sources: Sources) -> None:
    """Labels are requests with an id each, and a label that was known no earlier than the request."""
    labels = usecase.recipe.labels(sources)
    assert len(labels)
    assert labels.index.is_unique
    assert {field.name for field in usecase.request if not field.is_time} <= set(labels.columns)
    assert labels[usecase.target.label].notna().all()
    assert (labels["label_at"] >= labels["requested_at"]).all()
    for name in ("requested_at", "label_at"):
        assert isinstance(labels[name].dtype, pd.DatetimeTZDtype)


def check_answers(usecase: UseCase, package: ModelPackage) -> Columns:
    """Answers to requests of which no store knows anything are finite and of their type, and an interval holds the
    estimate. Returns them."""
    found = reference(package).predict(package.samples)
    assert list(found) == [field.name for field in usecase.answer]
    rows = len(package.inputs)
    for field in usecase.answer:
        column = found[field.name]
        assert column.shape == (rows, *field.shape), field.name
        if field.datatype != "BYTES":
            finite = np.isfinite(column.astype(np.float64))
            assert finite.all(), f"{field.name} is not finite in {np.count_nonzero(~finite)} rows"
    target = usecase.target
    if target.low:
        assert (found[target.low] <= found[target.answer]).all()
        assert (found[target.answer] <= found[target.high]).all()
    return found


def check_answers_alone(package: ModelPackage) -> None:
    """A request's answer does not depend on the batch that it comes in."""
    oracle = reference(package)
    together = oracle.predict(package.samples)
    rows = len(package.inputs)
    for row in range(0, rows, max(1, rows // 5)):
        alone = oracle.predict({name: column[row : row + 1] for name, column in package.samples.items()})
        for name, column in alone.items():
            if column.dtype == object:
                assert np.array_equal(column[0], together[name][row])
                continue
            np.testing.assert_allclose(column[0], together[name][row], rtol=1e-4, atol=1e-5)


def check_package(package: ModelPackage, folder: Path) -> ModelPackage:
    """A package comes back from disk as it went, and answers the same. Returns what came back."""
    package.save(folder)
    loaded = ModelPackage.load(folder)
    assert loaded.info == package.info
    assert loaded.functions == package.functions
    before, after = (Reference(p).parts.predict(p.inputs) for p in (package, loaded))
    np.testing.assert_array_equal(before, after)
    return loaded


def check_held_back(usecase: UseCase, outcome: Outcome) -> None:
    """The monitor can take its reference from what the gate saw."""
    found = take_reference(outcome.chosen.held_back, usecase.monitor, 1, rows=outcome.own)
    assert found.normal.labels == len(outcome.chosen.held_back)
    assert np.isfinite(found.normal.sd)


def reference(package: ModelPackage) -> Reference:
    """The oracle of a package where no store and no service knows anything."""
    steps = package.info.plan.steps
    features = [name for step in steps if isinstance(step, Online) for name in step.outputs.values()]

    def nothing(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
        return {name: np.full(len(at_us), np.nan) for name in features}

    return Reference(package, nothing)
