"""Quantisation: an ONNX model in float32 becomes one whose heavy layers multiply whole numbers of 8 bits.

Only matrix products with constant weights are quantised (MatMul, Gemm): weights symmetrically with a scale for each
output channel, activations to bytes with a range that is learned from calibration rows. ONNX Runtime's own tools find
the ranges and write the graph (QuantizeLinear and DequantizeLinear around each product), so it runs on ONNX Runtime as
it is, and `integer` compiles it. Convolutions stay in float32, where `winograd` has fewer products to compute.

A model is judged by its own metric on held-back rows. What costs more than the bound is not written.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from bottega.compile import onnx_engine
from bottega.compile.lower import read_onnx
from bottega.compile.metric import Arrays, Metric
from bottega.compile.precision import Precision
from bottega.errors import GateFailed, InvalidInput, Unsupported
from bottega.progress import Progress, silent

HEAVY = ("MatMul",)
LEAST_CHANNELS = 16
"""Inputs and outputs of the smallest layer that is worth it: fewer do not fill a register."""
PERCENTILE = 99.9
METHODS = ("minmax", "percentile")
BOUND = 0.01
TASK = "Quantising"
_CHUNK = 64


@dataclass(frozen=True)
class Quantised:
    """The quantised model, and what it costs."""

    model: bytes
    precision: Precision


@dataclass(frozen=True)
class _Trial:
    """One way to quantise: how ranges are found, and the layers that stay in float32."""

    method: str
    kept: tuple[str, ...]


def quantise(
    model: bytes,
    calibration: Arrays,
    held_back: Arrays,
    metric: Metric,
    *,
    bound: float = BOUND,
    methods: Sequence[str] = METHODS,
    progress: Progress = silent,
) -> Quantised:
    """The ONNX `model` with its heavy layers in int8.

    `calibration` and `held_back` are model inputs by name, rows along the first axis; `metric` is of the outputs for
    the held-back rows. Tried in order, until one costs no more than `bound` (0.01: one per cent of the metric): all
    layers; then with the first and the last one in float32, where errors weigh most; each with every range method.
    Raises InvalidData for no ONNX model, Unsupported where no layer is heavy enough, GateFailed where all cost more.
    """
    unknown = set(methods) - set(METHODS)
    if unknown or not methods:
        raise InvalidInput(f"The range methods are {list(methods)}.", next_step=f"Choose of {', '.join(METHODS)}.")
    read_onnx(model)
    prepared = _prepare(model)
    layers = heavy_layers(prepared)
    if not layers:
        raise Unsupported(
            f"No layer is worth int8: none multiplies by constant weights of {LEAST_CHANNELS} channels or more.",
            next_step="Compile it in fp32.",
        )
    before = metric.of(outputs := answers(model, held_back))
    if not np.isfinite(before):
        raise InvalidInput(
            f"{metric.name} is {before} in fp32.", next_step="Give held-back rows that it is defined on."
        )
    trials, failed = _trials(layers, methods), []
    for done, trial in enumerate(trials):
        progress(TASK, done, len(trials))
        content = _write(prepared, calibration, trial, layers)
        found = answers(content, held_back)
        after = metric.of(found)
        if metric.loss(before, after) <= bound:
            progress(TASK, len(trials), len(trials))
            cost = _cost(metric, before, after, bound, outputs, found)
            return Quantised(content, _precision(cost, trial, layers, calibration, len(content), len(model)))
        failed.append(f"{trial.method}, {len(trial.kept)} layers kept: {metric.loss(before, after):.2%}")
    raise GateFailed(
        f"int8 costs more than {bound:.2%} of {metric.name} ({before:.6g} in fp32): {'; '.join(failed)}.",
        next_step="Compile it in fp32, allow a larger loss, or give more calibration rows.",
    )


def answers(model: bytes, inputs: Arrays) -> dict[str, np.ndarray]:
    """The model's outputs by name for all rows, by ONNX Runtime."""
    session = onnx_engine.open_session(model)
    names = [output.name for output in session.get_outputs()]
    parts = [session.run(None, chunk) for chunk in _chunks(inputs)]
    return {name: np.concatenate(found) for name, found in zip(names, zip(*parts, strict=True), strict=True)}


def heavy_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the products with constant weights that are large enough, in order."""
    constants = {weight.name: weight.dims for weight in model.graph.initializer}
    return tuple(node.name for node in model.graph.node if node.op_type in HEAVY and _is_heavy(node, constants))


def _is_heavy(node: onnx.NodeProto, constants: dict[str, Sequence[int]]) -> bool:
    shape = constants.get(node.input[1], ())
    return len(shape) == 2 and min(shape) >= LEAST_CHANNELS


def _prepare(model: bytes) -> onnx.ModelProto:
    """The model with known shapes, batch normalisation merged into convolutions, every Gemm a MatMul, names unique."""
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    prepared = onnx.load_model_from_string(onnx_engine.simplified(model))
    _split_gemms(prepared.graph)
    add_pre_process_metadata(prepared)  # else the quantiser warns that nobody did this
    for number, node in enumerate(prepared.graph.node):
        node.name = f"{node.op_type}_{number}_{node.output[0]}"
    return prepared


def _split_gemms(graph: onnx.GraphProto) -> None:
    """Every plain Gemm as a MatMul and an Add: then the bias stays in float32."""
    weights = {weight.name: weight for weight in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        options = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0 and not options.get("transA")
        if node.op_type != "Gemm" or not plain or node.input[1] not in weights:
            nodes.append(node)
            continue
        right, product = node.input[1], node.output[0]
        if options.get("transB"):
            right = f"{right}_transposed"
            if right not in weights:
                turned = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
                weights[right] = numpy_helper.from_array(turned, right)
                graph.initializer.append(weights[right])
        if len(node.input) > 2 and node.input[2]:
            product = f"{node.output[0]}_product"
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], right], [product]))
        if product != node.output[0]:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], list(node.output)))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _trials(layers: tuple[str, ...], methods: Sequence[str]) -> list[_Trial]:
    ends = (layers[0], layers[-1])
    kept = [(), ends] if len(layers) > 2 else [()]
    return [_Trial(method, some) for some in kept for method in methods]


def _write(model: onnx.ModelProto, calibration: Arrays, trial: _Trial, layers: tuple[str, ...]) -> bytes:
    """The model with the layers that are not kept between QuantizeLinear and DequantizeLinear."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    changed = onnx.ModelProto()
    changed.CopyFrom(model)  # the quantiser moves the weights of what it is given into a file of its own
    method = CalibrationMethod.MinMax if trial.method == "minmax" else CalibrationMethod.Percentile
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            changed,
            path,
            _rows(calibration),
            op_types_to_quantize=list(HEAVY),
            nodes_to_quantize=[layer for layer in layers if layer not in trial.kept],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": list(HEAVY),  # what follows a product is float32 anyway
                "CalibTensorRangeSymmetric": False,
                "CalibPercentile": PERCENTILE,
            },
        )
        return path.read_bytes()


def _rows(calibration: Arrays):  # type: ignore[no-untyped-def]  # ONNX Runtime's class is imported when it is needed
    from onnxruntime.quantization import CalibrationDataReader

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = _chunks(_whole_chunks(calibration))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    return Rows()


def _chunks(inputs: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """The rows, some at a time."""
    rows = {len(array) for array in inputs.values()}
    if len(rows) != 1 or not min(rows):
        raise InvalidInput(
            f"The inputs have {sorted(rows)} rows.", next_step="Give the same number of each, 1 or more."
        )
    for start in range(0, min(rows), _CHUNK):
        yield {name: array[start : start + _CHUNK] for name, array in inputs.items()}


def _whole_chunks(inputs: Arrays) -> Arrays:
    """The rows, the first ones again at the end so that all chunks are as long: histograms are made of such only."""
    rows = len(next(iter(inputs.values()), ()))
    again = np.arange(-(-rows // _CHUNK) * _CHUNK if rows > _CHUNK else rows) % max(rows, 1)
    return {name: array[again] if len(array) == rows else array for name, array in inputs.items()}


def _cost(
    metric: Metric, before: float, after: float, bound: float, expected: Arrays, found: Arrays
) -> dict[str, object]:
    floats = [name for name, answer in expected.items() if answer.dtype.kind == "f"]
    error = max((float(np.nanmax(np.abs(found[name] - expected[name]))) for name in floats), default=0.0)
    return {
        "metric": metric.name,
        "metric_float": before,
        "metric_quantised": after,
        "loss": metric.loss(before, after),
        "bound": bound,
        "max_abs_error": error,
        "rows": len(next(iter(expected.values()))),
    }


def _precision(
    cost: dict[str, object], trial: _Trial, layers: tuple[str, ...], calibration: Arrays, size: int, float_size: int
) -> Precision:
    return Precision(
        kind="int8",
        **cost,  # type: ignore[arg-type]
        calibration=trial.method if trial.method == "minmax" else f"percentile {PERCENTILE}",
        calibration_rows=len(next(iter(calibration.values()))),
        quantised=tuple(layer for layer in layers if layer not in trial.kept),
        kept=trial.kept,
        size_bytes=size,
        float_size_bytes=float_size,
    )
