"""Tracing: a numeric function written in numpy becomes a graph, so that serving it needs no Python.

The function is called once with stand-ins for its columns. They answer numpy's ufunc and function protocols and note
each operation, so the trace is what numpy would have computed: float64, any batch size, the same for every row. Only
operations that run element by element are known; branching on values must be written with `np.where`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import TensorProto, helper, numpy_helper

from bottega.errors import BottegaError, InvalidInput

OPSET = 18
IR_VERSION = 10
_DIRECT: Mapping[np.ufunc, str] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.divide: "Div",
    np.negative: "Neg",
    np.abs: "Abs",
    np.sqrt: "Sqrt",
    np.exp: "Exp",
    np.log: "Log",
    np.sin: "Sin",
    np.cos: "Cos",
    np.tanh: "Tanh",
    np.floor: "Floor",
    np.maximum: "Max",
    np.minimum: "Min",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.equal: "Equal",
    np.logical_and: "And",
    np.logical_or: "Or",
    np.logical_not: "Not",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
    np.invert: "Not",
    np.isnan: "IsNaN",
}
_OF_BOOL = {"And", "Or", "Not"}
_TO_BOOL = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "IsNaN"}


class _Graph:
    """The nodes and constants noted so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def value(self, operand: object, *, boolean: bool) -> "_Traced":
        if isinstance(operand, _Traced):
            return operand
        array = np.asarray(operand)
        if array.ndim:
            raise InvalidInput(
                f"The function uses an array of shape {array.shape} that is not one of its arguments.",
                next_step="Use scalars, and columns that are arguments; put arrays into a table of the plan.",
            )
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array.astype(np.bool_ if boolean else np.float64), name))
        return _Traced(self, name, boolean)

    def add(self, op: str, operands: list["_Traced"], *, boolean: bool) -> "_Traced":
        name = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [operand.name for operand in operands], [name]))
        return _Traced(self, name, boolean)


class _Traced(NDArrayOperatorsMixin):
    """The stand-in for a column while a function is traced."""

    def __init__(self, graph: _Graph, name: str, boolean: bool) -> None:
        self.graph, self.name, self.boolean = graph, name, boolean

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> "_Traced":
        op = _DIRECT.get(ufunc)
        if ufunc is np.square:
            return self.graph.add("Mul", [self, self], boolean=False)
        if ufunc is np.power:
            return self._power(inputs[0], inputs[1])
        if op is None or method != "__call__" or options:
            known = ", ".join(sorted({u.__name__ for u in _DIRECT} | {"square", "power", "where"}))
            raise InvalidInput(f"np.{ufunc.__name__} cannot be traced.", next_step=f"Write it with {known}.")
        operands = [self.graph.value(operand, boolean=op in _OF_BOOL) for operand in inputs]
        return self.graph.add(op, operands, boolean=op in _TO_BOOL)

    def _power(self, base: object, exponent: object) -> "_Traced":
        """A whole power as a product (numpy's own pow differs from it in the last bit); others are refused."""
        if not isinstance(base, _Traced) or exponent not in (2, 3, 4, 5, 6):
            raise InvalidInput("Only the powers 2 to 6 can be traced.", next_step="Write exp(exponent * log(base)).")
        product = base
        for _ in range(int(str(exponent)) - 1):
            product = self.graph.add("Mul", [product, base], boolean=False)
        return product

    def __array_function__(
        self, function: Callable[..., Any], types: object, arguments: tuple[object, ...], options: dict[str, object]
    ) -> "_Traced":
        if function is not np.where or len(arguments) != 3:
            raise InvalidInput(
                f"np.{function.__name__} cannot be traced.", next_step="Of functions, np.where is known."
            )
        condition, *branches = arguments
        operands = [self.graph.value(condition, boolean=True), *(self.graph.value(b, boolean=False) for b in branches)]
        return self.graph.add("Where", operands, boolean=False)

    def __bool__(self) -> bool:
        raise InvalidInput("A traced function branches on a value.", next_step="Write np.where(condition, a, b).")


def trace(name: str, function: Callable[..., Any], inputs: int, outputs: int) -> bytes:
    """The ONNX bytes of `function(np, *columns)`: columns (batch,) float64 in and out, as many as said.

    Raises InvalidInput where the function does what the graph cannot, or returns another number of columns.

    >>> len(trace("length", lambda xp, x, y: xp.sqrt(x * x + y * y), 2, 1)) > 0
    True
    """
    graph = _Graph()
    arguments = [_Traced(graph, f"input_{i}", False) for i in range(inputs)]
    try:
        returned = function(np, *arguments)
    except BottegaError as error:
        raise InvalidInput(f"{name}: {error.what}", next_step=error.next_step) from error
    results = returned if isinstance(returned, tuple) else (returned,)
    if len(results) != outputs:
        raise InvalidInput(f"{name} returns {len(results)} columns; the plan's step names {outputs}.")
    for i, result in enumerate(results):
        graph.nodes.append(_output(graph, result, arguments, f"output_{i}"))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info(a.name, TensorProto.DOUBLE, ["batch"]) for a in arguments],
            [helper.make_tensor_value_info(f"output_{i}", TensorProto.DOUBLE, ["batch"]) for i in range(outputs)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _output(graph: _Graph, result: object, arguments: list[_Traced], name: str) -> onnx.NodeProto:
    """The node that names a result; a truth value becomes 0 or 1, a constant one value a row."""
    if not isinstance(result, _Traced):
        constant = graph.value(result, boolean=False)
        unknown = graph.add("IsNaN", [arguments[0]], boolean=True)
        result = graph.add("Where", [unknown, constant, constant], boolean=False)
    if result.boolean:
        return helper.make_node("Cast", [result.name], [name], to=TensorProto.DOUBLE)
    return helper.make_node("Identity", [result.name], [name])
