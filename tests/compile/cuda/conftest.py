"""A CUDA toolkit, and a small graph to compile with it."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bottega.compile.cuda_toolkit import find_toolkit
from bottega.errors import Unsupported


@pytest.fixture(scope="session")
def toolkit():
    """The CUDA toolkit of this machine."""
    try:
        return find_toolkit()
    except Unsupported as error:
        pytest.skip(f"no CUDA toolkit: {error}")


@pytest.fixture(scope="session")
def small_graph():
    """Makes an ONNX graph of two inputs: rows of a table by id, and numbers; their sum passes through two layers."""
    return _small_graph


def _small_graph(first="batch"):
    random = np.random.default_rng(3)
    weights = {
        "table": random.standard_normal((50, 32), np.float32),
        "w1": random.standard_normal((32, 64), np.float32) / 6,
        "w2": random.standard_normal((64, 2), np.float32) / 8,
    }
    nodes = [
        helper.make_node("Gather", ["table", "id"], ["row"]),
        helper.make_node("Add", ["row", "numbers"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("MatMul", ["h2", "w2"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("id", TensorProto.INT64, [first]), value("numbers", TensorProto.FLOAT, [first, 32])]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", TensorProto.FLOAT, [first, 2])], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
