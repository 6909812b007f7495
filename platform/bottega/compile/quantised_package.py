"""Quantisation of a model package: judged by the mean absolute error of its answer, on rows apart."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx

from bottega.compile.metric import Arrays, Metric, distance_from, mean_abs_error
from bottega.compile.precision import Precision
from bottega.compile.quantise import BOUND, METHODS, answers, quantise
from bottega.errors import Unsupported
from bottega.features.plan import run_steps
from bottega.features.steps import External, Online, Parts
from bottega.progress import Progress, silent
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference


def quantise_package(
    package: ModelPackage, *, bound: float = BOUND, methods: Sequence[str] = METHODS, progress: Progress = silent
) -> tuple[ModelPackage, Precision]:
    """The package with its network in int8, and what that costs.

    Every other of its rows calibrates, the rest judge: by the mean absolute error of the answer that has labels, in its
    unit; by the distance from float32 where none has, or where the answer needs features that the rows do not hold.
    Raises Unsupported for trees, GateFailed where it costs more than `bound`.
    """
    if package.info.kind != "network":
        raise Unsupported("Only networks are quantised; trees compare, and do not multiply.", next_step="Use fp32.")
    name = onnx.load_model_from_string(package.model).graph.input[0].name
    inputs = np.ascontiguousarray(package.inputs, np.float32)
    calibration, held_back = {name: inputs[::2]}, {name: inputs[1::2]}
    metric = _metric(package, answers(package.model, held_back))
    found = quantise(package.model, calibration, held_back, metric, bound=bound, methods=methods, progress=progress)
    return dataclasses.replace(package, model=found.model), found.precision


def _metric(package: ModelPackage, in_float: Arrays) -> Metric:
    """Of the model's outputs for every second row, from the second one on."""
    if not package.labels or not _reads(package) <= set(package.info.plan.features):
        return distance_from(in_float)
    answer, label = next(iter(package.labels.items()))
    unit = next(field.unit for field in package.info.plan.answer if field.name == answer)
    judged = mean_abs_error(label[1::2], unit)
    return Metric(judged.name, lambda outputs: judged.of({answer: _answers(package, outputs)[answer]}))


def _answers(package: ModelPackage, outputs: Arrays) -> Arrays:
    """The plan's answers for every second sample, the model's output given; features that are read as it saw them."""
    (predicted,) = outputs.values()
    own, plan = Reference(package).parts, package.info.plan
    parts = Parts(own.tables, own.functions, own.read_online, lambda features: predicted, own.read_external)
    seen = dict(zip(plan.features, package.inputs[1::2].T.astype(np.float64), strict=True))
    given = {name: seen[name] for name in _reads(package)}
    request = {name: column[1::2] for name, column in package.samples.items()}
    return run_steps(plan.steps, request, parts, given)


def _reads(package: ModelPackage) -> set[str]:
    """The columns that are read from the online store and from services."""
    steps = package.info.plan.steps
    return {name for step in steps if isinstance(step, Online | External) for name in step.makes()}
