"""Numeric functions: compiled, against the numpy that they were written in."""

from pathlib import Path

import numpy as np
import pytest

from bottega.compile import native
from bottega.compile.calls import column_function
from bottega.compile.functions import add_functions
from bottega.compile.program import Program
from bottega.compile.runtime import CONSTANTS, FUNCTION, KERNELS, load_natives
from bottega.compile.target import host
from bottega.training.trace import trace


def great_circle(xp, pu_lat, pu_lon, do_lat, do_lon):
    """Kilometres between two points in degrees."""
    a, b, c, d = (degrees * (np.pi / 180) for degrees in (pu_lat, pu_lon, do_lat, do_lon))
    half = xp.sin((c - a) / 2) ** 2 + xp.cos(a) * xp.cos(c) * xp.sin((d - b) / 2) ** 2
    return 2 * 6371.0 * xp.sqrt(half), (d - b) * xp.cos(a) * 6371.0, (c - a) * 6371.0


def minutes(xp, pair_log, residual):
    """The estimate, and a band around it."""
    eta = xp.exp((pair_log + residual) / 30)
    return eta, eta * 0.8, eta * 1.25


def everything(xp, x, y):
    """Each kind of operation that a trace knows."""
    near = xp.where((x > y) & ~xp.isnan(y) | (x == 0.0), xp.minimum(x, y), xp.maximum(x, 2.5))
    waves = xp.sin(x) * xp.cos(y) - xp.tanh(x / (1.0 + xp.abs(y)))
    return near, waves, xp.floor(x * 3.0) - (-y), xp.log(1.0 + x * x) + xp.sqrt(xp.abs(y)), xp.exp(-xp.abs(x)), x >= y


def constant(xp, x):
    """Outputs that do not depend on the input."""
    return x * 0.0 + 4.0, x


FUNCTIONS = {"great_circle": (great_circle, 4, 3), "minutes": (minutes, 2, 3), "everything": (everything, 2, 6)}
FUNCTIONS["constant"] = (constant, 1, 2)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder, program = tmp_path_factory.mktemp("functions"), Program()
    traced = {name: trace(name, *description) for name, description in FUNCTIONS.items()}
    add_functions(program, traced, host())
    assert not program.notes
    native.build(program.module(), host(), folder / KERNELS)
    np.savez(folder / CONSTANTS, allow_pickle=False, **program.constants)
    natives = load_natives(folder, program.entries)
    return {n: column_function(natives[FUNCTION + n], inputs, outputs) for n, (_, inputs, outputs) in FUNCTIONS.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("rows", [1, 2, 7, 64, 300])
def test_equals_numpy(name: str, rows: int, compiled: dict) -> None:
    written, inputs, _ = FUNCTIONS[name]
    random = np.random.default_rng(rows)
    columns = [random.normal(0, 30, rows) for _ in range(inputs)]
    expected = written(np, *columns)
    for answer, wanted in zip(compiled[name](*columns), expected, strict=True):
        np.testing.assert_allclose(answer, np.broadcast_to(wanted, rows), rtol=1e-12, atol=1e-12)


def test_missing_and_infinite_values_pass_through(compiled: dict) -> None:
    columns = [np.array([np.nan, np.inf, -np.inf, 0.0]), np.array([1.0, 1.0, np.nan, -0.0])]
    with np.errstate(invalid="ignore"):
        expected = minutes(np, *columns)
    for answer, wanted in zip(compiled["minutes"](*columns), expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=1e-12)


def test_answers_are_not_overwritten_by_the_next_call(compiled: dict) -> None:
    first = compiled["minutes"](np.zeros(2), np.zeros(2))
    kept = [column.copy() for column in first]
    compiled["minutes"](np.ones(2), np.ones(2))
    for column, wanted in zip(first, kept, strict=True):
        np.testing.assert_array_equal(column, wanted)


def test_a_function_that_tvm_lacks_stays_with_onnx_runtime(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    column = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "odd", column[:1], column[1:])
    graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    graph.output[0].type.tensor_type.shape.dim.add()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    program = Program()
    add_functions(program, {"odd": model.SerializeToString()}, host())
    assert not program.functions
    assert "'odd' runs on ONNX Runtime" in program.notes[0]
