"""Joining: a chain of kernels becomes one native function, so a model is one call without an interpreter.

Its parameters are the inputs, the constants (weights stay outside the code, shared by every batch size), and the
outputs. The tensors between kernels live in buffers of the function; TVM lets those share memory whose times do not
overlap.
"""

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax, s_tir, te, tirx
from tvm.ir import GenericConst, Var
from tvm_ffi import structural

from bottega.errors import Unsupported


@dataclass
class Joined:
    """One function, and the arrays to pass for its constants, by name and in order."""

    function: tirx.PrimFunc
    constants: dict[str, np.ndarray]


@dataclass
class _Chain:
    """What is known while walking `main`: the buffer of each value, and the values of each tuple."""

    buffers: dict[Var, tirx.Buffer] = field(default_factory=dict)
    tuples: dict[Var, list[tirx.Buffer]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    constant_buffers: list[tirx.Buffer] = field(default_factory=list)
    between: list[tirx.Buffer] = field(default_factory=list)
    bodies: list[tirx.Stmt] = field(default_factory=list)


def join(module: tvm.IRModule, name: str) -> Joined:
    """The kernels of `module` in the order of its `main`, as one function called `name`.

    Raises Unsupported where `main` does more than call kernels.
    """
    main, chain = module["main"], _Chain()
    for parameter in main.params:
        chain.buffers[parameter] = _declare(parameter.ty, parameter.name)
    inputs = list(chain.buffers.values())
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    outputs = _outputs(main, bindings)
    for binding in bindings:
        _append(chain, module, binding)
    results: list[tirx.Buffer] = []
    for output in outputs:
        results.append(_result(chain, output, [*inputs, *results]))
    between = [buffer for buffer in chain.between if not any(buffer.same_as(result) for result in results)]
    body = tirx.SeqStmt(chain.bodies) if len(chain.bodies) > 1 else chain.bodies[0]
    root = s_tir.SBlock([], [], [], "root", body, alloc_buffers=between)
    function = tirx.PrimFunc([*inputs, *chain.constant_buffers, *results], s_tir.SBlockRealize([], True, root))
    attributes = {"global_symbol": name, "tirx.noalias": True, "s_tir": True}
    return Joined(function.with_attrs(attributes), chain.constants)


def _outputs(main: relax.Function, bindings: list[relax.Binding]) -> list[relax.Expr]:
    """The values that `main` returns."""
    result = main.body.body
    for binding in bindings:
        if binding.var.same_as(result) and isinstance(binding.value, relax.Tuple):
            return list(binding.value.fields)
    return list(result.fields) if isinstance(result, relax.Tuple) else [result]


def _result(chain: _Chain, output: relax.Expr, taken: list[tirx.Buffer]) -> tirx.Buffer:
    """The buffer of an output; a copy where it is an input, a constant, or another output at the same time."""
    value = _argument(chain, output)
    if not isinstance(output, GenericConst) and not any(value.same_as(other) for other in taken):
        return value
    source = te.placeholder(list(value.shape), value.dtype)
    copy = te.create_prim_func([source, te.compute(source.shape, source)])
    result = tirx.decl_buffer(list(value.shape), value.dtype, name=f"{value.name}_copy")
    chain.bodies.append(_bind(copy, [value, result]))
    return result


def _append(chain: _Chain, module: tvm.IRModule, binding: relax.Binding) -> None:
    """Add one kernel to the chain, or give a name to what is there."""
    call = binding.value
    if isinstance(call, relax.Tuple):
        chain.tuples[binding.var] = [_argument(chain, value) for value in call.fields]
        return
    if isinstance(call, relax.TupleGetItem):
        chain.buffers[binding.var] = chain.tuples[call.tuple_value][call.index]
        return
    if getattr(getattr(call, "op", None), "name", "") != "relax.call_tir":
        what = getattr(getattr(call, "op", call), "name", type(call).__name__)
        raise Unsupported(f"The graph holds {what}, which is no kernel.")
    kind = call.ty_args[0]
    several = isinstance(kind, relax.TupleType)
    results = [_declare(one, binding.var.name) for one in (kind.fields if several else [kind])]
    if several:
        chain.tuples[binding.var] = results
    else:
        chain.buffers[binding.var] = results[0]
    chain.between.extend(results)
    kernel = s_tir.renew_defs(module[call.args[0]])
    arguments = [*(_argument(chain, argument) for argument in call.args[1]), *results]
    chain.bodies.append(_bind(kernel, arguments))


def _argument(chain: _Chain, value: relax.Expr) -> tirx.Buffer:
    if not isinstance(value, GenericConst):
        return chain.buffers[value]
    name = f"constant_{len(chain.constants)}"
    chain.constants[name] = value.value.numpy()
    chain.constant_buffers.append(tirx.decl_buffer(list(value.value.shape), str(value.value.dtype), name=name))
    return chain.constant_buffers[-1]


def _bind(kernel: tirx.PrimFunc, arguments: list[tirx.Buffer]) -> tirx.Stmt:
    """The kernel's body, on these buffers and their shapes."""
    replaced: dict[Var, tvm.ir.Expr] = dict(zip(kernel.params, arguments, strict=True))
    for parameter, argument in zip(kernel.params, arguments, strict=True):
        sizes = zip(parameter.shape, argument.shape, strict=True)
        replaced.update((size, actual) for size, actual in sizes if isinstance(size, Var))
    return structural.structural_map(kernel.body, (Var, lambda value: replaced.get(value, value)))


def _declare(kind: relax.TensorType, name: str) -> tirx.Buffer:
    return tirx.decl_buffer(list(kind.shape.values), str(kind.dtype), name=name)
