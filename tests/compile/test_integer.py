"""Integer products: exact to the last bit against numpy, and a quantised graph as it is written against ours."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import te

from bottega.compile import integer, library
from bottega.compile.join import join
from bottega.compile.loops import Registers
from bottega.compile.lower import import_onnx, lower
from bottega.compile.native import build, llvm_target
from bottega.compile.schedule import registers, schedule, schedule_kernel
from bottega.compile.target import LEVELS as LEVELS_OF_X86
from bottega.compile.target import VNNI, Target, for_integers, host, misfit, named

X86 = host().architecture == "x86_64"
LEVELS = ["host", "x86-64-v3", "x86-64"]


def target_of(level: str) -> Target:
    if level == "host":
        return for_integers(host())
    if not X86 or not set(named(level).features) <= set(host().features):
        pytest.skip(f"this CPU does not run {level}")
    return named(level)


def run(function: tvm.tirx.PrimFunc, target: Target, folder: Path, *arrays: np.ndarray) -> None:
    build(tvm.IRModule({"f": function.with_attr("global_symbol", "f")}), target, folder / "f.so")
    library.load(folder / "f.so")("f")(*map(library.tensor, arrays))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("outer", "rows", "columns"), [((6,), 64, 48), ((1,), 4, 16), ((3, 5), 7, 21), ((17,), 130, 1)]
)
def test_products_are_exact(level: str, outer: tuple[int, ...], rows: int, columns: int, tmp_path: Path) -> None:
    target, random = target_of(level), np.random.default_rng(rows)
    weights = random.choice(np.array([-127, -3, 0, 1, 127], np.int8), (rows, columns))
    values = random.choice(np.array([0, 1, 128, 255], np.uint8), (*outer, rows))
    packed = integer.pack(weights)
    filled = np.pad(values, [(0, 0)] * len(outer) + [(0, -rows % integer.DEPTH)])
    left = te.placeholder(filled.shape, "uint8", "left")
    right = te.placeholder(packed.shape, "int8", "right")
    kernel = te.create_prim_func([left, right, integer.multiply(left, right)])
    sums = library.aligned((*outer, packed.shape[0] * integer.LANES), np.int32)
    run(
        schedule_kernel(kernel, registers(target)),
        target,
        tmp_path,
        library.aligned_copy(filled),
        library.aligned_copy(packed),
        sums,
    )
    np.testing.assert_array_equal(sums[..., :columns], values.astype(np.int32) @ weights.astype(np.int32))
    assert not sums[..., columns:].any()


def test_the_instruction_is_used_where_the_target_has_it() -> None:
    left, right = te.placeholder((8, 64), "uint8", "left"), te.placeholder((4, 16, 16, 4), "int8", "right")
    kernel = te.create_prim_func([left, right, integer.multiply(left, right)])
    wide = Registers(lanes=16, sums=24)
    assert "vpdpbusd" not in schedule_kernel(kernel, wide).script()
    assert "vpdpbusd" in schedule_kernel(kernel, Registers(lanes=16, sums=24, vnni=True)).script()


def quantised_graph(rows: int, columns: int, *, transposed: bool, zero: int) -> onnx.ModelProto:
    """Two layers: Gemm or MatMul of bytes by int8 with a scale for each column, a bias, ReLU; bytes again; MatMul."""
    random, nodes, weights = np.random.default_rng(rows), [], []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def quantised(x: str, scale: float, zero: int) -> str:
        parameters = [constant(f"{x}_s", np.float32(scale)), constant(f"{x}_z", np.uint8(zero))]
        stored = node("QuantizeLinear", [x, *parameters], f"{x}_q")
        return node("DequantizeLinear", [stored, *parameters], f"{x}_d")

    def matrix(name: str, shape: tuple[int, int], axis: int) -> str:
        stored = constant(f"{name}_q", random.integers(-127, 128, shape).astype(np.int8))
        scale = constant(f"{name}_s", random.uniform(0.001, 0.01, shape[axis]).astype(np.float32))
        zeros = constant(f"{name}_z", np.zeros(shape[axis], np.int8))
        return node("DequantizeLinear", [stored, scale, zeros], f"{name}_d", axis=axis)

    x = quantised("features", 0.02, zero)
    if transposed:
        bias = constant("bias", random.standard_normal(columns).astype(np.float32))
        hidden = node("Gemm", [x, matrix("w", (columns, rows), 0), bias], "hidden", transB=1)
    else:
        hidden = node("MatMul", [x, matrix("w", (rows, columns), 1)], "hidden")
    x = quantised(node("Relu", [hidden], "active"), 0.01, 0)
    node("MatMul", [x, matrix("v", (columns, 5), 1)], "out")
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", rows])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 5])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def as_written(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": features})[0]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "columns", "zero"), [(32, 64, 128), (30, 18, 3)])
def test_a_quantised_graph(level: str, transposed: bool, rows: int, columns: int, zero: int, tmp_path: Path) -> None:
    target, model = target_of(level), quantised_graph(rows, columns, transposed=transposed, zero=zero)
    features = np.random.default_rng(1).standard_normal((9, rows)).astype(np.float32)
    module = lower(import_onnx(model, {"features": (9, rows)}), llvm_target(target))
    assert str(module).count("bottega.packed") == 2
    joined = join(schedule(module, target), "f")
    out = library.aligned((9, 5), np.float32)
    constants = [library.aligned_copy(array) for array in joined.constants.values()]
    run(joined.function, target, tmp_path, library.aligned_copy(features), *constants, out)
    np.testing.assert_allclose(out, as_written(model, features), rtol=1e-5, atol=1e-4)


def test_a_target_records_what_integers_need(monkeypatch: pytest.MonkeyPatch) -> None:
    best = frozenset(LEVELS_OF_X86["x86-64-v4"])
    monkeypatch.setattr("bottega.compile.target.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("bottega.compile.target.cpu_features", lambda: best | {VNNI})
    built = for_integers(host())
    assert VNNI in built.features and VNNI not in host().features
    assert not misfit(built)
    monkeypatch.setattr("bottega.compile.target.cpu_features", lambda: best)
    assert VNNI in misfit(built)
    assert VNNI not in for_integers(host()).features
    assert for_integers(named("x86-64-v3")) == named("x86-64-v3")
