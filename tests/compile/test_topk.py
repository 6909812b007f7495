"""Top-k against ONNX Runtime and against a stable sort: ties, infinities, each axis, k from one to all."""

import numpy as np
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper

from bottega.compile import library, native
from bottega.compile.topk import by_heap, by_threshold

CASES = [((3, 1000), -1, 100), ((64,), 0, 64), ((1, 1), 1, 1), ((5, 7, 2), 1, 3), ((2, 129), 1, 5), ((2, 700), 1, 300)]


def top_k_model(cases: list[tuple[tuple[int, ...], int, int, int]]) -> bytes:
    """A graph with one TopK for each (shape, axis, k, largest)."""
    nodes, inputs, outputs, sizes = [], [], [], []
    for i, (shape, axis, k, largest) in enumerate(cases):
        names = [f"values{i}", f"places{i}"]
        nodes.append(helper.make_node("TopK", [f"x{i}", f"k{i}"], names, axis=axis, largest=largest))
        inputs.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape))
        for name, kind in zip(names, (TensorProto.FLOAT, TensorProto.INT64), strict=True):
            outputs.append(helper.make_tensor_value_info(name, kind, [None] * len(shape)))
        sizes.append(numpy_helper.from_array(np.array([k], np.int64), f"k{i}"))
    graph = helper.make_graph(nodes, "top_k", inputs, outputs, sizes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.mark.slow
def test_agrees_with_onnx_runtime_and_with_a_stable_sort(agrees_with_onnx_runtime) -> None:
    random = np.random.default_rng(0)
    cases = [(*case, i % 2) for i, case in enumerate([*CASES, CASES[0]])]
    inputs = {}
    for i, (shape, *_) in enumerate(cases):
        x = random.standard_normal(shape, np.float32)
        x[x < 0] = np.round(x[x < 0] * 4) / 4  # ties, -0 among them
        inputs[f"x{i}"] = x
    answers = agrees_with_onnx_runtime(top_k_model(cases), inputs)
    for i, (_, axis, k, largest) in enumerate(cases):
        x = inputs[f"x{i}"]
        order = np.argsort(-x if largest else x, axis=axis, kind="stable").take(range(k), axis=axis)
        np.testing.assert_array_equal(answers[2 * i + 1], order)
        np.testing.assert_array_equal(answers[2 * i], np.take_along_axis(x, order, axis))


def test_rows_that_are_hard(agrees_with_onnx_runtime) -> None:
    x = np.zeros((6, 200), np.float32)
    x[0], x[1] = np.arange(200), -np.arange(200)
    x[2, ::3], x[3, 7], x[3, 8] = np.inf, -np.inf, np.inf
    x[4], x[5] = -np.inf, np.finfo(np.float32).tiny / 4 * np.arange(200)
    cases = [(x.shape, 1, 50, 1), (x.shape, 1, 50, 0), (x.shape, 1, 200, 1)]
    agrees_with_onnx_runtime(top_k_model(cases), {f"x{i}": x for i in range(len(cases))})


def test_both_ways_agree(levels, tmp_path) -> None:
    """By threshold and by heap, on rows with many equal values and NaN, which is larger than all numbers."""
    x = np.random.default_rng(5).integers(0, 9, (7, 333)).astype(np.float32)
    x[1, ::5], x[2] = np.nan, 1.0
    expected = np.argsort(-np.nan_to_num(x, nan=np.inf), axis=1, kind="stable")[:, :40]
    for way in (by_threshold, by_heap):
        path = tmp_path / f"{way.__name__}.so"
        native.build(tvm.IRModule({"f": way(333, 40, True).with_attr("global_symbol", "f")}), levels[0], path)
        values, places = library.aligned((7, 40), np.float32), library.aligned((7, 40), np.int64)
        library.load(path)("f")(*map(library.tensor, (library.aligned_copy(x), values, places)))
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))
