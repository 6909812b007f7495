"""Loop nests, said in one line a block: what was fused into a kernel, and how its loops were cut."""

import math
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bottega.compile.loops import blocks, name

_KINDS = ("", "parallel ", "vector ", "unroll ", "thread ")
"""In the order of TVM's ForKind."""


@dataclass(frozen=True)
class Nest:
    """One block: its loops, outermost first, and how often its statement runs."""

    block: str
    loops: str
    runs: int


def nests(kernel: tirx.PrimFunc) -> list[Nest]:
    """The blocks of a kernel, in order."""
    sch = Schedule(kernel)
    return [_nest(sch, block) for block in blocks(sch)]


def _nest(sch: Schedule, block: SBlockRV) -> Nest:
    loops = [sch.get(loop) for loop in sch.get_loops(block)]
    lengths = [int(loop.extent) if isinstance(loop.extent, tirx.IntImm) else 0 for loop in loops]
    steps = [
        f"{_KINDS[loop.kind]}{length or loop.extent}"
        for loop, length in zip(loops, lengths, strict=True)
        if length != 1
    ]
    return Nest(name(sch, block), " x ".join(steps) or "once", math.prod(length or 1 for length in lengths))


def kernels_of(module: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    """The kernels of a lowered module by name, in the order in which its `main` calls them."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    called = [
        b.value.args[0] for b in bindings if getattr(getattr(b.value, "op", None), "name", "") == "relax.call_tir"
    ]
    return {one.name_hint: module[one] for one in called}


def heaviest(module: tvm.IRModule) -> str:
    """The kernel whose statements run most often."""
    kernels = kernels_of(module)
    return max(kernels, key=lambda kernel: max((nest.runs for nest in nests(kernels[kernel])), default=0))


def fusion(module: tvm.IRModule) -> str:
    """Each kernel, and the operators whose loops it holds."""
    held = {name: [nest.block for nest in nests(kernel)] for name, kernel in kernels_of(module).items()}
    return "\n".join(f"{name}: {' + '.join(blocks)}" for name, blocks in held.items())


def tiling(before: tvm.IRModule, after: tvm.IRModule) -> str:
    """The loops of each block before and after scheduling; a block that is no longer there was computed in another."""
    lines = []
    for kernel, plain in kernels_of(before).items():
        lines.append(kernel)
        scheduled = nests(after[kernel])
        lines += [f"  {nest.block}: {nest.loops}" for nest in nests(plain)]
        lines += [f"  -> {nest.block}: {nest.loops}" for nest in scheduled]
    return "\n".join(lines)
