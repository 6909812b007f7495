"""The reference: a model package run by the frameworks that made it, the oracle for whatever is compiled from it."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.plan import check_request, run_steps
from bottega.features.steps import Columns, ExternalRead, NumericFunction, OnlineRead, Parts, Predict, no_services
from bottega.training.package import Kind, ModelPackage

if TYPE_CHECKING:
    import onnxruntime
    import xgboost


class Reference:
    """Answers as the package says: tables by numpy, functions by ONNX Runtime, the model by XGBoost or ONNX Runtime."""

    def __init__(
        self,
        package: ModelPackage,
        read_online: OnlineRead | None = None,
        threads: int = 1,
        read_external: ExternalRead = no_services,
    ) -> None:
        self.package = package
        functions = {name: onnx_function(content) for name, content in package.functions.items()}
        predict = model_function(package.info.kind, package.model, threads)
        self.parts = Parts(package.tables, functions, read_online or no_online_store, predict, read_external)

    def columns(self, request: Columns, given: Mapping[str, np.ndarray] | None = None) -> Columns:
        """Every column of the plan for a batch of requests, unchecked; `given` holds point-in-time features."""
        return run_steps(self.package.info.plan.steps, request, self.parts, given)

    def predict(self, request: Columns, given: Mapping[str, np.ndarray] | None = None) -> Columns:
        """The answer fields for a batch of requests. Raises InvalidInput where the request breaks the schema."""
        check_request(self.package.info.plan, request, self.package.tables)
        ready = self.columns(request, given)
        return {field.name: ready[field.name] for field in self.package.info.plan.answer}


def no_online_store(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    """The online read of a reference that was given none."""
    raise InvalidInput(
        f"The plan reads the view {view!r}, and there is no online store.",
        next_step="Pass read_online, or the point-in-time features as `given`.",
    )


def onnx_session(content: bytes, threads: int = 1) -> "onnxruntime.InferenceSession":
    """A session on the CPU that does not change the order of sums."""
    import onnxruntime  # here, so that a use case is declared without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def onnx_function(content: bytes) -> NumericFunction:
    """A traced function as a numpy function."""
    session = onnx_session(content)
    names = [argument.name for argument in session.get_inputs()]

    def run(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(session.run(None, dict(zip(names, columns, strict=True))))

    return run


def model_function(kind: Kind, content: bytes, threads: int = 1) -> Predict:
    """The model of a package: (batch, features) float32 to (batch, outputs) float32."""
    if kind == "trees":
        import xgboost

        booster = xgboost.Booster({"nthread": threads})
        booster.load_model(bytearray(content))
        return functools.partial(_predict_trees, booster)
    return functools.partial(_predict_network, onnx_session(content, threads))


def _predict_trees(booster: "xgboost.Booster", features: np.ndarray) -> np.ndarray:
    found = booster.inplace_predict(features, validate_features=False)
    return np.asarray(found, np.float32).reshape(len(features), -1)


def _predict_network(session: Any, features: np.ndarray) -> np.ndarray:
    (found,) = session.run(None, {session.get_inputs()[0].name: features})
    return found
