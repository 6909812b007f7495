"""Matrix products, attention, normalisation and reductions against ONNX Runtime, on shapes of every kind."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bottega.compile.products import pack


class Nodes:
    """An ONNX graph with several inputs and outputs, written node by node."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes, self.weights, self.outputs = [], [], []
        self.inputs: dict[str, np.ndarray] = {}

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.random.standard_normal(shape, np.float32)
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.random.standard_normal(shape, np.float32), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def give(self, name: str, axes: int) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes))

    def model(self) -> bytes:
        given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in self.inputs.items()]
        graph = helper.make_graph(self.nodes, "nodes", given, self.outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


LAYERS = [
    ((1, 64), 1040),
    ((4, 70), 1600),
    ((2, 3, 130), 512),
    ((17, 64), 1024),
    ((5, 19), 23),
    ((3, 48), 1),
    ((1, 1), 1),
]


def test_layers(agrees_with_onnx_runtime) -> None:
    g = Nodes()
    for shape, columns in LAYERS:
        product = g.add("MatMul", g.input(*shape), g.weight(shape[-1], columns))
        g.give(g.add("Relu", g.add("Add", product, g.weight(columns))), len(shape))
    agrees_with_onnx_runtime(g.model(), g.inputs)


@pytest.mark.parametrize(("tokens", "width"), [(17, 64), (16, 32), (3, 7), (1, 8)])
def test_attention(tokens: int, width: int, agrees_with_onnx_runtime) -> None:
    g = Nodes()
    query, key, value = (g.input(2, tokens, width) for _ in range(3))
    turned = g.add("Transpose", key, perm=[0, 2, 1])
    scores = g.add("Softmax", g.add("MatMul", query, turned), axis=-1)
    g.give(g.add("MatMul", scores, value), 3)
    g.give(g.add("MatMul", query, g.add("MatMul", turned, value)), 3)  # linear attention
    both = g.add("MatMul", turned, g.add("Transpose", query, perm=[0, 2, 1])) if tokens == width else query
    g.give(g.add("Relu", both), 3)
    agrees_with_onnx_runtime(g.model(), g.inputs)


def test_normalisation_and_reductions(agrees_with_onnx_runtime) -> None:
    g = Nodes()
    for shape in ((2, 17, 64), (3, 5, 7), (1, 1, 48)):
        x = g.input(*shape)
        g.give(g.add("LayerNormalization", x, g.weight(shape[-1]), g.weight(shape[-1]), axis=-1), 3)
        g.give(g.add("Softmax", x, axis=1), 3)
        for op in ("ReduceSum", "ReduceMax", "ReduceMean"):
            g.give(g.add(op, x, keepdims=1), 3)
        g.give(g.add("Transpose", x, perm=[2, 0, 1]), 3)
    agrees_with_onnx_runtime(g.model(), g.inputs)


def test_panels_hold_neighbouring_columns() -> None:
    weights = np.arange(12).reshape(2, 6)
    assert pack(weights, 3).tolist() == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
