"""Plain ONNX models for the tests: sum and difference, text, identity, an embedding with ids."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def add_sub(shape: tuple[int | str, ...] = ("batch", 16), element: int = TensorProto.INT32) -> bytes:
    """INPUT0, INPUT1 to OUTPUT0 (sum) and OUTPUT1 (difference)."""
    names = ["INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1"]
    tensors = [helper.make_tensor_value_info(name, element, shape) for name in names]
    nodes = [helper.make_node("Add", names[:2], names[2:3]), helper.make_node("Sub", names[:2], names[3:])]
    return _model(nodes, tensors[:2], tensors[2:])


def add_sub_text() -> bytes:
    """The same on numbers that are written as text."""
    names = ["INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1"]
    tensors = [helper.make_tensor_value_info(name, TensorProto.STRING, ("batch", 16)) for name in names]
    nodes = [
        helper.make_node("Cast", ["INPUT0"], ["a"], to=TensorProto.INT32),
        helper.make_node("Cast", ["INPUT1"], ["b"], to=TensorProto.INT32),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.STRING),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.STRING),
    ]
    return _model(nodes, tensors[:2], tensors[2:])


def identity(element: int, shape: tuple[int | str, ...] = ("batch", "n")) -> bytes:
    """INPUT0 to OUTPUT0."""
    given = helper.make_tensor_value_info("INPUT0", element, shape)
    answer = helper.make_tensor_value_info("OUTPUT0", element, shape)
    return _model([helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], [given], [answer])


def embedding(rows: int = 10) -> bytes:
    """`ids` (batch, 3) int64 to the sum of their rows in a table: (batch, 4)."""
    table = numpy_helper.from_array(np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), "table")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axes"], ["total"], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ("batch", 3))
    total = helper.make_tensor_value_info("total", TensorProto.FLOAT, ("batch", 4))
    return _model(nodes, [ids], [total], [table, axes])


def put(root: Path, name: str, model: bytes, version: int = 1, config: str = "") -> Path:
    """Write a model into a repository; its version folder."""
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    if config:
        (root / name / "config.pbtxt").write_text(config)
    return folder


def _model(nodes: list, inputs: list, outputs: list, weights: list | None = None) -> bytes:
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
