"""exp, tanh and erf in vector arithmetic.

LLVM knows no vector version of them and would call the C library once for each lane. These rules replace the call in
float32 by a polynomial or a quotient of two, a few instructions for a whole register. The coefficients are fits by
least squares in float64, weighted again and again towards the smallest largest error; the largest relative error in
float32 is 3.3e-7. Other precisions keep the library call.
"""

from collections.abc import Callable, Sequence

import tvm
from tvm import tirx
from tvm_ffi import structural

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_EXP = (1.0, 1.0, 0.49999988, 0.16666518, 0.04166952, 0.008368915, 0.0013752032)
_TANH_LIMIT = 9.1
_TANH_ABOVE = (1.0, 0.13374509, 0.00348785, 2.0481775e-05, 1.3178236e-08)
_TANH_BELOW = (1.0, 0.46707824, 0.025847541, 0.0003272982, 7.7043592e-07)
_ERF_LIMIT = 4.0
_ERF_ABOVE = (1.1283791, 0.1935352, 0.0531004, 0.0038829036, 0.00028455313, 1.9868244e-06)
_ERF_BELOW = (1.0, 0.50484866, 0.11534588, 0.015206381, 0.0011854585, 3.7419934e-05)


def expand(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with each float32 exp, tanh, erf and sigmoid written out in arithmetic, and without quotients by
    a constant: a division takes as long as ten products."""
    rules = [(tvm.ir.Call, _expand), (tvm.ir.prim.Div, _scale)]
    return function.with_body(structural.structural_map(function.body, rules))


def _scale(quotient: tvm.ir.Expr) -> tvm.ir.Expr:
    """The product with the reciprocal, where that is a normal number: it differs by half a unit in the last place."""
    divisor = getattr(quotient.b, "value", None)
    if str(quotient.ty.dtype) != "float32" or not isinstance(divisor, float) or not 1e-30 < abs(divisor) < 1e30:
        return quotient
    return quotient.a * _float(1 / divisor)


def _expand(call: tvm.ir.Call) -> tvm.ir.Expr:
    rule = _RULES.get(getattr(call.op, "name", ""))
    if rule is None or str(call.ty.dtype) != "float32":
        return call
    x = tirx.Var("x", "float32")
    return tirx.Let(x, call.args[0], rule(x))


def _exp(x: tvm.ir.Expr) -> tvm.ir.Expr:
    """2**n * exp(r) with n whole and |r| <= ln(2) / 2; the power of two is written into the exponent's bits."""
    inside, n, r = (tirx.Var(name, "float32") for name in ("inside", "n", "r"))
    bits = (n.astype("int32") + 126) * (1 << 23)
    power = tirx.reinterpret("float32", bits)  # 2**(n - 1), and 0 for the smallest n
    value = _polynomial(r, _EXP) * _float(2.0) * power
    value = tirx.Let(r, inside - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW), value)
    value = tirx.Let(n, tirx.floor(inside * _float(_LOG2_E) + _float(0.5)), value)
    value = tirx.Let(inside, tirx.max(tirx.min(x, _float(89.0)), _float(-87.4)), value)
    return _keep_nan(x, value)


def _tanh(x: tvm.ir.Expr) -> tvm.ir.Expr:
    return _keep_nan(x, _odd(x, _TANH_LIMIT, _TANH_ABOVE, _TANH_BELOW))


def _erf(x: tvm.ir.Expr) -> tvm.ir.Expr:
    return _keep_nan(x, _odd(x, _ERF_LIMIT, _ERF_ABOVE, _ERF_BELOW))


def _sigmoid(x: tvm.ir.Expr) -> tvm.ir.Expr:
    return _float(1.0) / (_float(1.0) + _exp(_float(0.0) - x))


def _odd(x: tvm.ir.Expr, limit: float, above: Sequence[float], below: Sequence[float]) -> tvm.ir.Expr:
    """x * above(x**2) / below(x**2), constant beyond the limit, where the function is 1 to float32's precision."""
    inside, square = tirx.Var("inside", "float32"), tirx.Var("square", "float32")
    value = inside * _polynomial(square, above) / _polynomial(square, below)
    value = tirx.Let(square, inside * inside, tirx.max(tirx.min(value, _float(1.0)), _float(-1.0)))
    return tirx.Let(inside, tirx.max(tirx.min(x, _float(limit)), _float(-limit)), value)


def _polynomial(x: tvm.ir.Expr, coefficients: Sequence[float]) -> tvm.ir.Expr:
    """Horner's scheme, lowest power first."""
    value: tvm.ir.Expr = _float(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + _float(coefficient)
    return value


def _keep_nan(x: tvm.ir.Expr, value: tvm.ir.Expr) -> tvm.ir.Expr:
    """The comparisons above lose a NaN; give it back."""
    return tirx.Select(tirx.isnan(x), x, value)


def _float(value: float) -> tvm.ir.Expr:
    return tirx.const(value, "float32")


_RULES: dict[str, Callable[[tvm.ir.Expr], tvm.ir.Expr]] = {
    "tirx.exp": _exp,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
    "tirx.sigmoid": _sigmoid,
}
