import numpy as np
import onnx
import onnx.helper as helper
import onnx.numpy_helper as numpy_helper
import pytest
from onnx import TensorProto

from bottega.compile.cost import Cost, at_batch, cost

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def graph(nodes, inputs, outputs, weights=()):
    """A checked model; a dimension None is the batch."""

    def values(given):
        return [helper.make_tensor_value_info(n, k, [d or "batch" for d in s]) for n, k, s in given]

    initializers = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights]
    made = helper.make_graph(nodes, "g", values(inputs), values(outputs), initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def test_product_of_matrices():
    model = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, (None, 7))],
        [("y", FLOAT, (None, 5))],
        [("w", (7, 5))],
    )
    assert cost(model, 3) == Cost(2 * 3 * 7 * 5, 4 * (3 * 7 + 3 * 5 + 7 * 5))


def test_half_precision_halves_the_weights_alone():
    model = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, (None, 7))],
        [("y", FLOAT, (None, 5))],
        [("w", (7, 5))],
    )
    assert cost(model, 3).bytes - cost(model, 3, 2).bytes == 2 * 7 * 5


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm_by_its_inner_side(transposed):
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(transposed))
    weight = (5, 7) if transposed else (7, 5)
    model = graph([node], [("x", FLOAT, (None, 7))], [("y", FLOAT, (None, 5))], [("w", weight), ("b", (5,))])
    assert cost(model, 2).flops == 2 * 2 * 7 * 5


def test_convolution_and_what_follows_it():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])]
    model = graph(nodes, [("x", FLOAT, (None, 3, 8, 8))], [("y", FLOAT, (None, 4, 8, 8))], [("w", (4, 3, 3, 3))])
    made = 2 * 4 * 8 * 8
    assert cost(model, 2) == Cost(2 * made * 3 * 3 * 3 + made, 4 * (2 * 3 * 8 * 8 + made + 4 * 3 * 3 * 3))


def test_gather_reads_the_rows_that_it_picks():
    model = graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", INT64, (None, 2))],
        [("y", FLOAT, (None, 2, 6))],
        [("table", (100, 6))],
    )
    picked, ids = 4 * 3 * 2 * 6, 8 * 3 * 2
    assert cost(model, 3) == Cost(0, 2 * picked + ids)
    whole, ids = 4 * 100 * 6, 8 * 1000 * 2
    assert cost(model, 1000) == Cost(0, whole + ids + 4 * 1000 * 2 * 6)


def test_batch_reaches_every_tensor():
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    fixed = at_batch(graph(nodes, [("x", FLOAT, (None, 7))], [("y", FLOAT, (None, 7))]), 9)
    for value in [*fixed.graph.value_info, *fixed.graph.output]:
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [9, 7]
