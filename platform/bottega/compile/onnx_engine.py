"""ONNX Runtime as an engine: baseline of every measurement, fallback of every artefact. Imported when first needed."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bottega.compile.target import cpu_features
from bottega.errors import InvalidInput

_EXACT = frozenset({"avx512_vnni", "avx_vnni"})
"""CPU features with which ONNX Runtime adds up products of bytes without saturation, fast; else it must be told."""


def open_session(content: bytes, *, as_written: bool = False) -> Any:
    """A session on one thread of the CPU; `as_written` without rewrites, which round whole numbers differently."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not cpu_features() & _EXACT:
        options.add_session_config_entry("session.x64quantprecision", "1")  # else products of bytes saturate
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: graph optimisation warns about what it then does right
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def tensors(content: bytes, *, as_written: bool = False) -> Callable[[Sequence[np.ndarray], int], list[np.ndarray]]:
    """Inputs in the graph's order, and the rows of their batch, to outputs in the graph's order.

    Raises InvalidInput for values on which an operator of the graph fails, for example an index out of its range.
    """
    session = open_session(content, as_written=as_written)
    names = [argument.name for argument in session.get_inputs()]

    def run(arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        try:
            return session.run(None, dict(zip(names, arrays, strict=True)))
        except session_errors() as error:
            raise InvalidInput(f"ONNX Runtime refuses the values: {str(error).splitlines()[0]}") from None

    return run


def session_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a graph or for values that it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )


def simplified(content: bytes) -> bytes:
    """The model after ONNX Runtime's portable rewrites: what is constant folded, normalisation merged with layers."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def model(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """(batch, features) float32 to (batch, outputs) float32."""
    session = open_session(content)
    name = session.get_inputs()[0].name

    def run(features: np.ndarray) -> np.ndarray:
        (answer,) = session.run(None, {name: features})
        return answer.reshape(len(features), -1)

    return run


def function(content: bytes) -> Callable[..., tuple[np.ndarray, ...]]:
    """(batch,) float64 columns to (batch,) float64 columns."""
    session = open_session(content)
    names = [argument.name for argument in session.get_inputs()]

    def run(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
        doubles = (np.asarray(column, np.float64) for column in columns)
        return tuple(session.run(None, dict(zip(names, doubles, strict=True))))

    return run
