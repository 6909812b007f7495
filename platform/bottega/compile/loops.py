"""What the scheduling rules ask about a block: its loops, their lengths, and divisors to cut them by."""

from dataclasses import dataclass

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm_ffi import structural

SPATIAL, REDUCTION = 0, 2


@dataclass(frozen=True)
class Registers:
    """The vector registers: float32 lanes of each, how many of them may hold a tile of sums, and whether an
    instruction multiplies bytes and adds up."""

    lanes: int
    sums: int
    vnni: bool = False


@dataclass(frozen=True)
class Axes:
    """The loops of a block: those of its output and those of its reduction, each outermost first."""

    spatial: list[LoopRV]
    reductions: list[LoopRV]


def blocks(sch: Schedule) -> list[SBlockRV]:
    """The blocks of a kernel, in order."""
    return sch.get_child_blocks(sch.get_sblock("root"))


def name(sch: Schedule, block: SBlockRV) -> str:
    """The block's name, unique in its kernel."""
    return sch.get(block).name_hint


def axes(sch: Schedule, block: SBlockRV) -> Axes:
    """The block's loops by kind; none where a loop does not stand for one variable of the block."""
    loops, variables = sch.get_loops(block), sch.get(block).iter_vars
    if len(loops) != len(variables):
        return Axes([], [])
    pairs = list(zip(loops, variables, strict=True))
    return Axes(
        [loop for loop, variable in pairs if variable.iter_type == SPATIAL],
        [loop for loop, variable in pairs if variable.iter_type == REDUCTION],
    )


def extent(sch: Schedule, loop: LoopRV) -> int:
    """How often a loop of known length runs."""
    return int(sch.get(loop).extent)


def reads(block: s_tir.SBlock) -> list[list]:
    """For each tensor that a block reads, the index along each of its axes."""
    return [[place.min for place in read.region] for read in block.reads]


def is_along(place: tvm.ir.Expr, variable: tirx.Var) -> bool:
    """Whether an index is the variable, or its place within a panel: then neighbours are neighbours in memory."""
    return place.same_as(variable) or (isinstance(place, tirx.FloorMod) and place.a.same_as(variable))


def panel_width(block: s_tir.SBlock, variable: tirx.Var) -> int:
    """The number of neighbours along the variable in what is read by panels; 0 where nothing is."""
    lasts = [read[-1] for read in reads(block) if read]
    widths = [int(last.b) for last in lasts if isinstance(last, tirx.FloorMod) and last.a.same_as(variable)]
    return min(widths, default=0)


def output_variables(block: s_tir.SBlock) -> list:
    """The variables of a block's output axes."""
    return [variable.var for variable in block.iter_vars if variable.iter_type == SPATIAL]


def reduction_variables(block: s_tir.SBlock) -> list:
    """The variables that a block sums over."""
    return [variable.var for variable in block.iter_vars if variable.iter_type == REDUCTION]


def uses(place: tvm.ir.Expr, variables: list) -> bool:
    """Whether an index depends on one of the variables."""
    found: list[tvm.ir.Var] = []
    structural.structural_walk(place, (tvm.ir.Var, found.append))
    return any(variable.same_as(used) for variable in variables for used in found)


def largest_divisor(number: int, limit: int) -> int:
    """The largest power of two, up to the power of two `limit`, that divides the number.

    >>> largest_divisor(24, 16)
    8
    """
    divisor = limit
    while number % divisor:
        divisor //= 2
    return divisor


def divisors(number: int, limit: int) -> list[int]:
    """All divisors up to `limit`.

    >>> divisors(12, 4)
    [1, 2, 3, 4]
    """
    return [i for i in range(1, min(number, limit) + 1) if number % i == 0]
