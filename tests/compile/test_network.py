"""Networks: one native function for each size against ONNX Runtime, on every batch size between and beyond."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bottega.compile import native, network, onnx_engine
from bottega.compile.calls import matrix_function
from bottega.compile.program import Program
from bottega.compile.runtime import CONSTANTS, KERNELS, Artifact, load_natives
from bottega.compile.target import Target, host, named
from bottega.errors import InvalidData, Unsupported
from bottega.training.package import ModelPackage

WIDTH, TOKENS = 6, 5


class Graph:
    """An ONNX graph from (batch, WIDTH) to one output, written node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(4)

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def drawn(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def model(self, output: str) -> bytes:
        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [output], ["prediction"])],
            "made_up",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTH])],
            [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", None])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return model.SerializeToString()


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def transformer(width: int = 32) -> bytes:
    """An embedding of each feature, softmax attention, layer normalisation, GELU, and a decoder."""
    g = Graph()
    column = g.add("Unsqueeze", "features", g.constant(ints(2)))
    one = g.add("MatMul", column, g.drawn(1, width))  # (batch, WIDTH, width)
    tokens = g.add("Add", one, g.drawn(WIDTH, width))
    scale, shift = g.constant(np.ones(width, np.float32)), g.constant(np.zeros(width, np.float32))
    normal = g.add("LayerNormalization", tokens, scale, shift, axis=-1)
    query, key, value = (g.add("MatMul", normal, g.drawn(width, width)) for _ in range(3))
    scores = g.add("MatMul", query, g.add("Transpose", key, perm=[0, 2, 1]))
    mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), value)
    tokens = g.add("Add", tokens, mixed)
    hidden = g.add("Gelu", g.add("MatMul", tokens, g.drawn(width, 4 * width)))
    tokens = g.add("Add", tokens, g.add("MatMul", hidden, g.drawn(4 * width, width)))
    flat = g.add("Flatten", tokens, axis=1)
    decoded = g.add("Relu", g.add("Gemm", flat, g.drawn(WIDTH * width, 16), g.drawn(16)))
    return g.model(g.add("Gemm", decoded, g.drawn(16, 1), g.drawn(1)))


def odd_sizes() -> bytes:
    """Layers whose widths no vector register divides, and functions that are written out in arithmetic."""
    g = Graph()
    x = "features"
    for op, before, after in (("Tanh", WIDTH, 7), ("Sigmoid", 7, 29), ("Elu", 29, 3), ("Exp", 3, 1)):
        x = g.add(op, g.add("Gemm", x, g.drawn(before, after), g.drawn(after)))
    return g.model(x)


def reductions() -> bytes:
    """Means and sums along each axis of (batch, WIDTH, 24)."""
    g = Graph()
    wide = g.add("MatMul", g.add("Unsqueeze", "features", g.constant(ints(2))), g.drawn(1, 24))
    over_tokens = g.add("ReduceSum", wide, g.constant(ints(1)), keepdims=0)  # (batch, 24)
    over_width = g.add("ReduceMean", wide, g.constant(ints(2)), keepdims=0)  # (batch, WIDTH)
    largest = g.add("ReduceMax", wide, g.constant(ints(1)), keepdims=0)
    return g.model(g.add("Concat", over_tokens, over_width, largest, axis=1))


def compiled(model: bytes, folder: Path, outputs: int, target: Target | None = None) -> dict[int, object]:
    program = Program()
    network.add_network(program, model, WIDTH, target or host())
    native.build(program.module(), target or host(), folder / KERNELS)
    np.savez(folder / CONSTANTS, allow_pickle=False, **program.constants)
    natives = load_natives(folder, program.entries)
    return {size: matrix_function(natives[network.entry(size)], WIDTH, outputs, size) for size in network.SIZES}


@pytest.mark.parametrize(("make", "outputs"), [(transformer, 1), (odd_sizes, 1), (reductions, 24 + WIDTH + 24)])
def test_every_size_answers_as_onnx_runtime(make, outputs: int, tmp_path: Path) -> None:
    model = make()
    reference = onnx_engine.model(model)
    for size, run in compiled(model, tmp_path, outputs).items():
        features = np.random.default_rng(size).standard_normal((size, WIDTH)).astype(np.float32)
        np.testing.assert_allclose(run(features), reference(features), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64"])
def test_narrower_registers(level: str, tmp_path: Path) -> None:
    if host().architecture != "x86_64" or not set(named(level).features) <= set(host().features):
        pytest.skip(f"this CPU does not run {level}")
    model = transformer()
    features = np.random.default_rng(0).standard_normal((16, WIDTH)).astype(np.float32)
    run = compiled(model, tmp_path, 1, named(level))[16]
    np.testing.assert_allclose(run(features), onnx_engine.model(model)(features), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17, 20, 64, 257, 1000])
def test_every_batch_size_answers_as_onnx_runtime(
    rows: int, made: SimpleNamespace, network_package: Path, network_artifact: Path
) -> None:
    features = made.inputs_of(made.requests(rows, seed=rows))
    features[::7, 4] = np.nan
    answer = Artifact.load(network_artifact, made.key).predict_raw(features)
    reference = onnx_engine.model(ModelPackage.load(network_package).model)(features)
    assert answer.shape == (rows, 1)
    np.testing.assert_allclose(answer, reference, rtol=1e-5, atol=1e-5)


def test_a_row_is_answered_alike_whatever_its_batch_holds(made: SimpleNamespace, network_artifact: Path) -> None:
    artifact = Artifact.load(network_artifact, made.key)
    features = made.inputs_of(made.requests(16, seed=1))
    together = artifact.predict_raw(features)
    artifact.predict_raw(np.full((3, features.shape[1]), np.nan, np.float32))  # leaves its rows in the padding
    np.testing.assert_array_equal(artifact.predict_raw(features[:13]), together[:13])


def test_extremes_of_nothing_but_infinities(tmp_path: Path) -> None:
    g = Graph()
    both = [g.add(op, "features", g.constant(ints(1)), keepdims=1) for op in ("ReduceMax", "ReduceMin")]
    run = compiled(g.model(g.add("Concat", *both, axis=1)), tmp_path, 2)[4]
    features = np.array([[-np.inf] * WIDTH, [np.inf] * WIDTH, [-np.inf, *range(1, WIDTH)], [7] * WIDTH], np.float32)
    np.testing.assert_array_equal(run(features), np.stack([features.max(1), features.min(1)], axis=1))


def test_repeats_along_every_axis(tmp_path: Path) -> None:
    g = Graph()
    cube = g.add("Reshape", "features", g.constant(ints(-1, 2, 3)))
    tiled = g.add("Tile", cube, g.constant(ints(1, 16, 10)))  # (batch, 32, 30)
    run = compiled(g.model(g.add("Flatten", tiled, axis=1)), tmp_path, 32 * 30)[16]
    features = np.random.default_rng(0).standard_normal((16, WIDTH)).astype(np.float32)
    expected = np.tile(features.reshape(16, 2, 3), (1, 16, 10)).reshape(16, -1)
    np.testing.assert_array_equal(run(features), expected)


def test_look_ups_out_of_range_read_no_foreign_memory(tmp_path: Path) -> None:
    g = Graph()
    ids = g.add("Cast", g.add("Slice", "features", *map(g.constant, (ints(0), ints(1), ints(1)))), to=TensorProto.INT64)
    rows = g.add("Gather", g.drawn(10, 4), ids)  # (batch, 1, 4)
    run = compiled(g.model(g.add("Flatten", rows, axis=1)), tmp_path, 4)[4]
    features = np.zeros((4, WIDTH), np.float32)
    features[:, 0] = [9, 10, 1e9, -1e9]
    answer = run(features)
    np.testing.assert_array_equal(answer[1:3], answer[[0, 0]])
    assert np.isfinite(answer).all()


def test_an_operator_that_tvm_lacks_is_named() -> None:
    g = Graph()
    model = g.model(g.add("LpNormalization", "features", axis=1))
    with pytest.raises(Unsupported, match="LpNormalization"):
        network.add_network(Program(), model, WIDTH, host())


def test_a_write_to_an_index_that_native_code_would_not_check_is_refused() -> None:
    g = Graph()
    ids = g.add("Cast", "features", to=TensorProto.INT64)
    scattered = g.add("ScatterElements", "features", ids, "features", axis=1)
    with pytest.raises(Unsupported, match="indices"):
        network.add_network(Program(), g.model(scattered), WIDTH, host())


def test_gathers_out_of_range_read_no_foreign_memory(tmp_path: Path) -> None:
    g = Graph()
    ids = g.add("Cast", "features", to=TensorProto.INT64)
    one = g.add("GatherElements", "features", ids, axis=1)
    run = compiled(g.model(one), tmp_path, WIDTH)[4]
    features = np.array([[0, 1, 5, -1, -6, 2], [6, 7, 1e9, -7, -1e9, 3]] * 2, np.float32)
    inside = np.clip(np.where(features < 0, features + WIDTH, features), 0, WIDTH - 1).astype(np.int64)
    np.testing.assert_array_equal(run(features), np.take_along_axis(features, inside, 1))


@pytest.mark.parametrize("damage", [b"", b"\x00\x01", b"not a model"])
def test_bytes_that_are_no_model(damage: bytes) -> None:
    with pytest.raises(InvalidData):
        network.add_network(Program(), damage, WIDTH, host())


def test_a_model_cut_short() -> None:
    model = odd_sizes()
    with pytest.raises(InvalidData):
        network.add_network(Program(), model[: len(model) // 2], WIDTH, host())
