"""Layout: pictures with channels last: they are then the lanes of a register, and their weights are neighbours."""

import tvm
from tvm import relax
from tvm.error import InternalError

_CONVOLUTION = "relax.nn.conv2d"
_LAYOUTS = {_CONVOLUTION: ["NHWC", "HWIO"]}


@tvm.transform.module_pass(opt_level=0, name="ChannelsLast")
class ChannelsLast:
    """Turns convolutions and what lies between them to channels last; graphs without convolutions stay as they are."""

    def transform_module(self, module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Convert every Relax function, or none where an operator has no such layout."""
        if not any(_has_convolution(f) for f in module.functions.values() if isinstance(f, relax.Function)):
            return module
        try:
            return relax.transform.ConvertLayout(_LAYOUTS)(module)
        except InternalError:
            return module


def _has_convolution(function: relax.Function) -> bool:
    found = []

    def look(value: relax.Expr) -> None:
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == _CONVOLUTION:
            found.append(value)

    relax.analysis.post_order_visit(function, look)
    return bool(found)
