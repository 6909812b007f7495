"""Convolutions and pooling against ONNX Runtime: shapes that fill registers, and shapes that do not."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

CONVOLUTIONS = {
    "3x3": ((2, 16, 12, 12), (32, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "colours": ((1, 3, 17, 13), (16, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "prime_sizes": ((1, 7, 11, 13), (5, 7, 3, 2), {}),
    "pads_of_one_side": ((1, 8, 9, 9), (8, 8, 3, 3), {"pads": [0, 1, 2, 0]}),
    "strides": ((2, 8, 15, 16), (24, 8, 3, 3), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilations": ((1, 8, 12, 12), (16, 8, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "winograd": ((3, 16, 6, 10), (48, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "winograd_of_odd_input": ((1, 32, 7, 5), (16, 32, 3, 3), {"pads": [2, 0, 1, 1]}),
    "winograd_without_pads": ((1, 16, 4, 4), (16, 16, 3, 3), {}),
    "odd_results": ((1, 16, 5, 7), (16, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "1x1": ((3, 24, 5, 5), (40, 24, 1, 1), {}),
    "groups": ((1, 12, 8, 8), (18, 4, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "depthwise": ((2, 32, 10, 10), (32, 1, 3, 3), {"group": 32, "pads": [1, 1, 1, 1]}),
    "one_pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
}


def model_of(
    nodes: list, inputs: dict[str, np.ndarray], weights: dict[str, np.ndarray], outputs: dict[str, int]
) -> bytes:
    """A graph of nodes; the outputs by name with their number of axes."""
    graph = helper.make_graph(
        nodes,
        "nodes",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes) for name, axes in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.mark.slow
def test_convolutions(agrees_with_onnx_runtime) -> None:
    random = np.random.default_rng(1)
    nodes, inputs, weights = [], {}, {}
    for case, (shape, kernel, attributes) in CONVOLUTIONS.items():
        x, w, b = (f"{letter}_{case}" for letter in "xwb")
        inputs[x] = random.standard_normal(shape, np.float32)
        weights[w] = random.standard_normal(kernel, np.float32)
        weights[b] = random.standard_normal(kernel[0], np.float32)
        nodes.append(helper.make_node("Conv", [x, w, b], [case], **attributes))
    agrees_with_onnx_runtime(model_of(nodes, inputs, weights, dict.fromkeys(CONVOLUTIONS, 4)), inputs)


def test_what_follows_a_convolution(agrees_with_onnx_runtime) -> None:
    """Batch normalisation, a residual connection, a rectifier and pooling; the second one is read twice."""
    random = np.random.default_rng(3)
    inputs, weights, nodes = {"x": random.standard_normal((2, 16, 8, 8), np.float32)}, {}, []
    before = "x"
    for i, (conv, op) in enumerate([("c0", "Relu"), ("c1", "Sigmoid")]):
        weights[f"w{i}"] = random.standard_normal((16, 16, 3, 3), np.float32)
        for name in ("scale", "shift", "mean", "var"):
            weights[f"{name}{i}"] = random.random(16, np.float32) + 0.5
        nodes.append(helper.make_node("Conv", [before, f"w{i}"], [conv], pads=[1, 1, 1, 1]))
        normal = [conv, *(f"{name}{i}" for name in ("scale", "shift", "mean", "var"))]
        nodes.append(helper.make_node("BatchNormalization", normal, [f"n{i}"]))
        nodes.append(helper.make_node("Add", [f"n{i}", before], [f"r{i}"]))
        nodes.append(helper.make_node(op, [f"r{i}"], [f"a{i}"]))
        before = f"a{i}"
    nodes.append(helper.make_node("MaxPool", [before], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
    agrees_with_onnx_runtime(model_of(nodes, inputs, weights, {"p": 4, "r1": 4}), inputs)


def test_pooling(agrees_with_onnx_runtime) -> None:
    random = np.random.default_rng(2)
    shapes = [(2, 16, 8, 8), (1, 5, 7, 9)]
    inputs = {f"x{i}": random.standard_normal(shape, np.float32) for i, shape in enumerate(shapes)}
    window = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}
    nodes = []
    for x in inputs:
        nodes += [helper.make_node(kind, [x], [f"{kind}_{x}"], **window) for kind in ("MaxPool", "AveragePool")]
        nodes.append(helper.make_node("GlobalAveragePool", [x], [f"GlobalAveragePool_{x}"]))
    outputs = {node.output[0]: 4 for node in nodes}
    agrees_with_onnx_runtime(model_of(nodes, inputs, {}, outputs), inputs)
