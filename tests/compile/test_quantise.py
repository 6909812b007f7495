"""Quantisation: what the graph holds against numpy, what it costs by the model's own metric, and what is refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper

from bottega.compile.metric import Metric, accuracy, area_under_curve, distance_from, hit_rate, mean_abs_error
from bottega.compile.plain_build import build_plain
from bottega.compile.quantise import answers, heavy_layers, quantise
from bottega.compile.runtime import Artifact
from bottega.compile.schedule import schedule
from bottega.compile.target import VNNI, Target, for_integers, host
from bottega.errors import GateFailed, InvalidData, InvalidInput, Unsupported

KEY = b"k" * 32
WIDTH, HIDDEN = 20, 96


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[object], out: list[object]) -> bytes:
    made = helper.make_graph(
        nodes,
        "made_up",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def fitted() -> SimpleNamespace:
    """A network with drawn hidden layers and a last one that least squares fitted to real labels."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((1500, WIDTH)).astype(np.float32)
    label = np.sin(rows[:, 0]) * 3 + rows[:, 1] * rows[:, 2] + random.normal(0, 0.1, len(rows))
    first, bias = random.standard_normal((WIDTH, HIDDEN)) / 4, random.standard_normal(HIDDEN) / 2
    second = random.standard_normal((HIDDEN, HIDDEN)) / 8
    hidden = np.maximum(np.maximum(rows @ first + bias, 0) @ second, 0)
    last = np.linalg.lstsq(hidden[:1000], label[:1000], rcond=None)[0][:, None]
    nodes = [
        helper.make_node("Gemm", ["features", "first", "bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "wide"], ["e"]),
        helper.make_node("MatMul", ["e", "last"], ["answer"]),
    ]
    # The last product in two parts, so that there are three heavy layers and one that is too narrow.
    left, sizes, right = np.linalg.svd(last @ np.ones((1, 16)) / 16, full_matrices=False)
    wide, narrow = left[:, :16] * sizes[:16], right[:16].sum(1, keepdims=True)
    weights = {"first": first.T, "bias": bias, "second": second, "wide": wide, "last": narrow}
    model = graph(nodes, weights, ["batch", WIDTH], ["batch", 1])
    return SimpleNamespace(
        model=model,
        calibration={"features": rows[:1000]},
        held_back={"features": rows[1000:]},
        metric=mean_abs_error(label[1000:], "min"),
        weights=weights,
        rows=rows,
        label=label,
    )


def initializers(model: bytes) -> dict[str, np.ndarray]:
    found = onnx.load_model_from_string(model).graph.initializer
    return {weight.name: numpy_helper.to_array(weight) for weight in found}


def test_it_costs_little_and_says_how_much(fitted: SimpleNamespace) -> None:
    found = quantise(fitted.model, fitted.calibration, fitted.held_back, fitted.metric, bound=0.05)
    cost = found.precision
    outputs = {name: answers(content, fitted.held_back) for name, content in (("f", fitted.model), ("q", found.model))}
    assert cost.metric == "mae_min"
    assert cost.metric_float == fitted.metric.of(outputs["f"])
    assert cost.metric_quantised == fitted.metric.of(outputs["q"]) != cost.metric_float
    assert cost.loss == pytest.approx(cost.metric_quantised / cost.metric_float - 1) and cost.loss <= 0.05
    assert cost.max_abs_error == pytest.approx(np.abs(outputs["f"]["answer"] - outputs["q"]["answer"]).max())
    assert 0 < cost.max_abs_error < 0.2
    assert (cost.rows, cost.calibration_rows, cost.calibration) == (500, 1000, "minmax")
    assert len(cost.quantised) == 3 and not cost.kept
    assert cost.size_bytes == len(found.model) < cost.float_size_bytes == len(fitted.model)


def test_weights_are_symmetric_with_a_scale_for_each_column(fitted: SimpleNamespace) -> None:
    found = initializers(quantise(fitted.model, fitted.calibration, fitted.held_back, fitted.metric, bound=0.05).model)
    second = fitted.weights["second"].astype(np.float32)
    scale = np.abs(second).max(0) / 127
    np.testing.assert_allclose(found["second_scale"], scale, rtol=1e-5)
    np.testing.assert_array_equal(found["second_quantized"], np.rint(second / found["second_scale"]))
    assert not found["second_zero_point"].any()
    np.testing.assert_array_equal(found["bias"], fitted.weights["bias"].astype(np.float32))
    np.testing.assert_array_equal(found["last"], fitted.weights["last"].astype(np.float32))


def test_ranges_by_percentile_leave_outliers_out(fitted: SimpleNamespace) -> None:
    rows = fitted.calibration["features"].copy()
    rows[0, 0] = 50.0
    scales = []
    for method in ("minmax", "percentile"):
        made = quantise(
            fitted.model, {"features": rows}, fitted.held_back, fitted.metric, bound=100.0, methods=[method]
        )
        scales.append(float(initializers(made.model)["features_scale"]))
    assert scales[0] == pytest.approx((50.0 - rows.min()) / 255, rel=1e-4)
    assert scales[1] < scales[0] / 3


def test_the_ends_stay_in_float_where_all_layers_cost_too_much(fitted: SimpleNamespace) -> None:
    everything = quantise(fitted.model, fitted.calibration, fitted.held_back, fitted.metric, bound=1.0).precision
    calls: list[float] = []

    def of(outputs: dict[str, np.ndarray]) -> float:
        calls.append(fitted.metric.of(outputs))
        return calls[-1] if len(calls) in (1, 3) else calls[-1] + 1.0  # all layers, then without the ends

    cost = quantise(
        fitted.model, fitted.calibration, fitted.held_back, Metric("mae", of), bound=0.05, methods=["minmax"]
    ).precision
    assert cost.kept == (everything.quantised[0], everything.quantised[-1])
    assert cost.quantised == everything.quantised[1:-1]


def test_what_costs_more_than_the_bound_is_refused(fitted: SimpleNamespace) -> None:
    with pytest.raises(GateFailed, match=r"mae_min .*minmax, 0 layers kept.*percentile, 2 layers kept"):
        quantise(fitted.model, fitted.calibration, fitted.held_back, fitted.metric, bound=-0.9)


def test_convolutions_stay_in_float_with_their_normalisation_merged() -> None:
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((16, 4, 3, 3)), "scale": random.uniform(0.5, 2, 16), "v": np.ones((16, 16))}
    weights |= {name: random.standard_normal(16) ** 2 + 0.1 for name in ("shift", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["features", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["answer"]),
    ]
    model = graph(nodes, weights, ["batch", 4, 8, 8], ["batch", 16])
    rows = {"features": random.standard_normal((200, 4, 8, 8)).astype(np.float32)}
    found = quantise(model, rows, rows, distance_from(answers(model, rows)), bound=0.05)
    assert [name.split("_")[0] for name in found.precision.quantised] == ["MatMul"]
    written = onnx.load_model_from_string(found.model).graph.node
    operators = [node.op_type for node in written]
    assert "BatchNormalization" not in operators and operators.count("QuantizeLinear") == 1
    assert next(node for node in written if node.op_type == "Conv").input[0] == "features"


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"model": b"no model"}, InvalidData, "ONNX"),
        ({"methods": ["entropy"]}, InvalidInput, "minmax"),
        ({"calibration": {}}, InvalidInput, "rows"),
        ({"held_back": {"features": np.zeros((0, WIDTH), np.float32)}}, InvalidInput, "rows"),
        ({"metric": Metric("odd", lambda outputs: float("nan"))}, InvalidInput, "odd is nan"),
    ],
)
def test_what_cannot_be_quantised(fitted: SimpleNamespace, given: dict, error: type[Exception], match: str) -> None:
    whole = {key: getattr(fitted, key) for key in ("model", "calibration", "held_back", "metric")} | given
    options = {"methods": whole.pop("methods")} if "methods" in whole else {}
    with pytest.raises(error, match=match):
        quantise(*whole.values(), **options)


def test_layers_too_narrow_are_no_use() -> None:
    model = graph(
        [helper.make_node("MatMul", ["features", "w"], ["answer"])], {"w": np.ones((8, 64))}, ["n", 8], ["n", 64]
    )
    assert heavy_layers(onnx.load_model_from_string(model)) == ()
    rows = {"features": np.ones((4, 8), np.float32)}
    with pytest.raises(Unsupported, match="16 channels"):
        quantise(model, rows, rows, distance_from(answers(model, rows)))


@pytest.fixture(scope="module")
def artifact(fitted: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fitted network in int8, compiled."""
    found, out = (
        quantise(fitted.model, fitted.calibration, fitted.held_back, fitted.metric, bound=0.05),
        (tmp_path_factory.mktemp("repository") / "fitted" / "1"),
    )
    scheduled: list[int] = []

    def scheduler(module: tvm.IRModule, target: Target) -> tvm.IRModule:
        scheduled.append(len(module.functions))
        return schedule(module, target)

    options = {"key": KEY, "buckets": (1, 8), "measure": False, "precision": found.precision, "scheduler": scheduler}
    manifest = build_plain(found.model, out, name="fitted", version="1", **options)
    assert manifest.precision == found.precision and len(scheduled) == 2
    assert [bucket.engine for bucket in manifest.engines] == ["tvm", "tvm"]
    return out


def test_an_artefact_in_whole_numbers(fitted: SimpleNamespace, artifact: Path) -> None:
    loaded = Artifact.load(artifact, KEY)
    assert (VNNI in loaded.manifest.target.features) == (VNNI in for_integers(host()).features)
    answer = {"answer": loaded.run(fitted.held_back)["answer"]}
    precision = loaded.manifest.precision
    assert precision is not None and not loaded.fallback
    assert fitted.metric.of(answer) == pytest.approx(precision.metric_quantised, rel=0.01)


def test_a_machine_without_the_instruction_falls_back_and_says_why(
    fitted: SimpleNamespace, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Artifact.load(artifact, KEY)
    if VNNI not in here.manifest.target.features:
        pytest.skip(f"this CPU has no {VNNI}")
    features = frozenset(here.manifest.target.features) - {VNNI}
    monkeypatch.setattr("bottega.compile.target.cpu_features", lambda: features)
    there = Artifact.load(artifact, KEY)
    assert there.fallback == f"built for x86-64-v4, this CPU lacks {VNNI}"
    answer = there.run(fitted.held_back)["answer"]
    np.testing.assert_allclose(answer, here.run(fitted.held_back)["answer"], atol=0.05)


def test_metrics() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    assert mean_abs_error(np.array([1.0, 3.0])).of({"y": np.array([[2.0], [1.0]])}) == 1.5
    assert accuracy(np.array([1, 0, 1, 0])).of({"y": scores}) == 0.75
    assert area_under_curve(np.array([0, 1, 1, 0])).of({"y": np.array([0.1, 0.9, 0.4, 0.5])}) == 0.75
    assert hit_rate(np.array([2, 0, 0, 1]), k=2).of({"y": scores}) == 0.75
    assert (
        hit_rate(np.array([7, 0]), k=2, output="items").of({"items": np.array([[9, 7, 0], [3, 4, 0]]), "s": scores})
        == 0.5
    )
    near = distance_from({"y": np.array([3.0, 4.0]), "ids": np.array([1, 2])})
    assert near.of({"y": np.array([3.0, 4.5]), "ids": np.array([2, 1])}) == pytest.approx(0.1)
    with pytest.raises(InvalidInput, match="the model has y, z"):
        mean_abs_error(np.zeros(2)).of({"y": np.zeros(2), "z": np.zeros(2)})
