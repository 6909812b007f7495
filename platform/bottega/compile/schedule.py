"""Scheduling: how the loops of each kernel run on a CPU, decided by rules, without search.

Lowering gives loops in the order of the mathematics. Three rules turn them into code that keeps the vector units busy:

- a reduction whose innermost output axis is contiguous (matrix products, sums over tokens) is cut into tiles of rows by
  vectors that stay in registers while the reduction runs;
- a reduction along the contiguous axis (dot products, means of layer normalisation) runs in as many partial sums as a
  register has lanes;
- everything else is inlined into what uses it, or runs one register at a time.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import tvm
from tvm import s_tir, tirx
from tvm.error import InternalError
from tvm.ir import TensorLoad
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import SBlockRV
from tvm_ffi import structural

from bottega.compile import elementary, identities
from bottega.compile.loops import Registers, axes, blocks, extent, largest_divisor, name
from bottega.compile.packed import is_packed, schedule_packed
from bottega.compile.reductions import schedule_reduction
from bottega.compile.target import VNNI, Target
from bottega.compile.winograd import STAGE, schedule_winograd

Scheduler = Callable[[tvm.IRModule, Target], tvm.IRModule]
Rule = Callable[[Schedule, SBlockRV, Registers], None]
SCHEDULED = "tirx.is_scheduled"
"""Attribute of kernels that were written loop by loop."""
_COSTLY = ("exp", "tanh", "erf", "sigmoid", "sqrt", "log", "pow")
_COSTLY_LENGTH = 70
_LONGEST = 200
"""Terms of an expression that is computed where it is used, a costly one counted for what it is written out to: each
use of an expression twice doubles what TVM has to compile, and one within another may do so."""


def registers(target: Target) -> Registers:
    """Of AVX-512, AVX2, or 128-bit vectors (SSE, NEON); the loads need a few beside the sums."""
    if target.level == "x86-64-v4":
        return Registers(lanes=16, sums=24, vnni=VNNI in target.features)
    if target.level == "x86-64-v3":
        return Registers(lanes=8, sums=12)
    return Registers(lanes=4, sums=24 if target.architecture == "aarch64" else 12)


def schedule(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """The module with every kernel scheduled, and exp, tanh and erf written out in arithmetic."""
    machine = registers(target)
    functions = dict(module.functions_items())
    for global_name, function in functions.items():
        if isinstance(function, tirx.PrimFunc):
            done = function.attrs and SCHEDULED in function.attrs
            kernel = function if done else identities.start_at_infinity(schedule_kernel(function, machine))
            functions[global_name] = elementary.expand(kernel)
    return tvm.IRModule(functions)


def schedule_kernel(kernel: tirx.PrimFunc, machine: Registers) -> tirx.PrimFunc:
    """One kernel by the rules above; a block that a rule does not fit keeps its loops."""
    sch = Schedule(kernel)
    for block in blocks(sch):
        _inline(sch, block)
    for wanted in [name(sch, block) for block in blocks(sch)]:
        found = [block for block in blocks(sch) if name(sch, block) == wanted]
        if found:  # and not yet merged into another one
            sch = _applied(_rule(sch, found[0]), sch, wanted, machine)
    return sch.mod["main"]


def _rule(sch: Schedule, block: SBlockRV) -> Rule:
    if is_packed(sch, block):
        return schedule_packed
    if stage := sch.get(block).annotations.get(STAGE):
        return _RULE_OF_STAGE.get(stage, _leave)
    return schedule_reduction if axes(sch, block).reductions else _vectorize


def _leave(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """The rule for blocks that the rule for another one takes care of."""


def _applied(rule: Rule, sch: Schedule, block: str, machine: Registers) -> Schedule:
    """The schedule after a rule, or as it was where TVM refuses a step of it because the result would change."""
    trial = sch.copy()
    try:
        rule(trial, trial.get_sblock(block), machine)
    except (ScheduleError, InternalError):  # TVM refuses some steps by a failed assertion of its own
        return sch
    return trial


def _inline(sch: Schedule, block: SBlockRV) -> None:
    """Compute a value where it is used, unless that costs more than it saves."""
    consumers = sch.get_consumers(block)
    if axes(sch, block).reductions or not consumers:
        return
    body = sch.get(block).body
    if STAGE in sch.get(block).annotations:
        return
    if _is_padding(body) and any(axes(sch, consumer).reductions for consumer in consumers):
        return
    if isinstance(body.value, tirx.FloorMod) or (len(consumers) > 1 and not _is_cheap(body)):
        return  # nested remainders (hashes) cost TVM's simplifier exponential time
    if not _is_short(body):
        return
    try:
        sch.compute_inline(block)
    except ScheduleError:
        return


def _is_padding(body: tirx.BufferStore) -> bool:
    """Whether the value depends on a condition, as the borders of a picture do; a sum must not ask it at every step."""
    return isinstance(body.value, tvm.ir.Call) and getattr(body.value.op, "name", "") == "prim.if_then_else"


def _moves(block: s_tir.SBlock) -> bool:
    """Whether the block only copies, within borders or in another order."""
    value = block.body.value
    if _is_padding(block.body):
        return True
    last = block.iter_vars[-1].var
    return isinstance(value, TensorLoad) and bool(value.indices) and not value.indices[-1].same_as(last)


def _is_short(body: tirx.BufferStore) -> bool:
    """Whether an expression may grow by being written into another one, where it may stand more than once."""
    length = 0

    def count(term: tvm.ir.Expr) -> structural.VisitInterrupt | None:
        nonlocal length
        costly = isinstance(term, tvm.ir.Call) and getattr(term.op, "name", "").removeprefix("tirx.") in _COSTLY
        length += _COSTLY_LENGTH if costly else 1
        return structural.VisitInterrupt(None) if length > _LONGEST else None

    return structural.structural_walk(body.value, (tvm.ir.Expr, count)) is None


def _is_cheap(body: tirx.BufferStore) -> bool:
    """Whether to compute a value twice rather than keep it: a plain load, or a little float arithmetic."""
    if isinstance(body.value, TensorLoad):
        return True
    return str(body.value.ty.dtype).startswith("float") and not any(f"T.{name}(" in str(body) for name in _COSTLY)


def _vectorize(sch: Schedule, block: SBlockRV, machine: Registers) -> None:
    """One register at a time along the last axis, or along all axes as one where the last is no whole registers."""
    loops = axes(sch, block).spatial
    if not loops:
        return
    last = loops[-1]
    if extent(sch, last) < machine.lanes and _moves(sch.get(block)):
        sch.unroll(last)  # a few neighbours from far apart: nothing that one load or store could do at once
        return
    if extent(sch, last) % machine.lanes and len(loops) > 1:
        last = sch.fuse(*loops)
    _, lane = sch.split(last, [None, largest_divisor(extent(sch, last), machine.lanes)])
    sch.vectorize(lane)


_RULE_OF_STAGE: Mapping[str, Rule] = MappingProxyType({"products": schedule_winograd, "pad": _vectorize})
