import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.training.reference import onnx_function
from bottega.training.trace import trace
from usecases import discover

RNG = np.random.default_rng(0)


def everything(xp, a, b):
    first = xp.sqrt(xp.abs(a)) + xp.exp(-(b**2)) - xp.log(1 + a * a) / 3
    second = xp.where((a > 0) & (b <= 0.5) | ~(a >= b), xp.sin(a) * xp.cos(b), xp.maximum(a, xp.minimum(b, 1.0)))
    third = xp.where(xp.isnan(a), 7.0, xp.tanh(xp.floor(a)) + b**3 + xp.square(b))
    return first, second, third, 1.5, a < b


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_trace_equals_numpy(batch):
    a, b = RNG.normal(size=(2, batch)) * 3
    a[::5] = np.nan
    run = onnx_function(trace("everything", everything, 2, 5))
    for got, expected in zip(run(a, b), everything(np, a, b), strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, np.broadcast_to(np.asarray(expected, float), batch), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", sorted(discover()))
def test_every_function_of_every_use_case_is_traced_exactly(name):
    recipe = discover()[name].recipe
    for function in (*recipe.functions, *recipe.answers):
        columns = RNG.uniform(0.5, 80, size=(len(function.inputs), 200))
        run = onnx_function(trace(function.name, function.apply, len(function.inputs), len(function.outputs)))
        for got, expected in zip(run(*columns), function(*columns), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda xp, a: a if a > 0 else -a, "branches on a value"),
        (lambda xp, a: xp.arctan(a), "np.arctan cannot be traced"),
        (lambda xp, a: xp.cumsum(a), "np.cumsum cannot be traced"),
        (lambda xp, a: xp.add.reduce(a), "np.add cannot be traced"),
        (lambda xp, a: a + np.arange(3), "shape"),
        (lambda xp, a: a**0.5, "powers"),
        (lambda xp, a: (a, a), "returns 2 columns"),
    ],
)
def test_what_the_graph_cannot_do_is_refused(function, what):
    with pytest.raises(InvalidInput, match=what):
        trace("bad", function, 1, 1)
