"""The node tests of the installed onnx package: small graphs, with inputs and the outputs that the standard wants."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Case:
    """One test: a model, one set of inputs, and what it must answer, within rtol and atol.

    `ops` are the operators of the graph; inputs and outputs are arrays, or lists and None for sequences and optionals.
    """

    name: str
    ops: tuple[str, ...]
    model: bytes
    inputs: list
    outputs: list
    rtol: float
    atol: float

    @property
    def expanded(self) -> bool:
        """Whether this is the test of another operator, written out in simpler ones."""
        return "_expanded" in self.name


def load_cases() -> list[Case]:
    """All of them, in the order of the package; the generators are seeded by the package itself."""
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators divide by zero and overflow on purpose
        tests = load_node_model_tests()
    return [_case(test, inputs, outputs) for test in tests for inputs, outputs in test.data_sets]


def _case(test, inputs: list, outputs: list) -> Case:
    ops = tuple(dict.fromkeys(node.op_type for node in test.model.graph.node))
    content = test.model.SerializeToString()
    return Case(test.name, ops, content, [*map(_value, inputs)], [*map(_value, outputs)], test.rtol, test.atol)


def _value(given: object) -> object:
    """Arrays where the package writes scalars, or protobufs for datatypes that numpy had not."""
    if isinstance(given, onnx.TensorProto):
        return numpy_helper.to_array(given)
    return np.asarray(given) if isinstance(given, np.generic) else given


def with_constants(case: Case) -> Case | None:
    """The same test with every input but the first as a constant of the graph, as exported models have shapes and axes.

    None where there are no such inputs, or where they are no plain tensors.
    """
    model = onnx.load_model_from_string(case.model)
    names = [value.name for value in model.graph.input]
    if len(names) < 2 or len(names) != len(case.inputs):
        return None
    if not all(isinstance(value, np.ndarray) and value.dtype.kind in "biufc" for value in case.inputs[1:]):
        return None
    model.graph.initializer.extend(_initializers(names[1:], case.inputs[1:]))
    del model.graph.input[1:]
    return Case(case.name, case.ops, model.SerializeToString(), case.inputs[:1], case.outputs, case.rtol, case.atol)


def _initializers(names: list[str], values: list[np.ndarray]) -> Iterator[onnx.TensorProto]:
    for name, value in zip(names, values, strict=True):
        yield numpy_helper.from_array(value, name)
