"""Elementary functions in arithmetic against scipy in float64."""

import numpy as np
import pytest
import tvm
from scipy import special
from tvm import te, topi

from bottega.compile import elementary, native
from bottega.compile.target import host

ROWS = 4096
FUNCTIONS = {"exp": np.exp, "tanh": np.tanh, "erf": special.erf, "sigmoid": special.expit}


@pytest.fixture(scope="module")
def compiled() -> tvm.runtime.Module:
    kernels = {}
    for name in FUNCTIONS:
        x = te.placeholder((ROWS,), name="x")
        y = topi.__dict__[name](x)
        kernels[name] = elementary.expand(te.create_prim_func([x, y]).with_attr("global_symbol", name))
    return tvm.compile(tvm.IRModule(kernels), target=native.llvm_target(host()))


def run(compiled: tvm.runtime.Module, name: str, x: np.ndarray) -> np.ndarray:
    answer = tvm.runtime.tensor(np.zeros(ROWS, np.float32))
    compiled[name](tvm.runtime.tensor(np.resize(x, ROWS)), answer)
    return answer.numpy()[: len(x)]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("reach", [1e-3, 1.0, 12.0, 87.0])
def test_error_is_below_four_units_in_the_last_place(compiled: tvm.runtime.Module, name: str, reach: float) -> None:
    x = np.linspace(-reach, reach, ROWS).astype(np.float32)
    expected = FUNCTIONS[name](x.astype(np.float64))
    np.testing.assert_allclose(run(compiled, name, x), expected, rtol=4 * np.finfo(np.float32).eps, atol=2e-38)


def test_the_ends_of_the_range(compiled: tvm.runtime.Module) -> None:
    x = np.array([np.inf, -np.inf, 200, -200, 88.7, np.nan], np.float32)
    np.testing.assert_allclose(run(compiled, "exp", x), [np.inf, 0, np.inf, 0, np.exp(88.7), np.nan], rtol=1e-5)
    for name in ("tanh", "erf"):
        np.testing.assert_allclose(run(compiled, name, x), [1, -1, 1, -1, 1, np.nan], rtol=1e-6)
    np.testing.assert_allclose(run(compiled, "sigmoid", x), [1, 0, 1, 0, 1, np.nan], rtol=1e-6, atol=1e-37)
