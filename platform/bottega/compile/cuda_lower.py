"""Lowering for a GPU: an ONNX graph at one batch size becomes a chain of scheduled kernels.

The stages are those of the CPU (`lower.py`): import, fold, legalise, fuse. Then each kernel gets a schedule from the
first rule that fits it, TVM's own rules for GPUs (dlight). Large constants become parameters of `main`, so that all
batch sizes share one copy of the weights; a CUDA graph may hold their addresses, for they never change.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.backend.cpu_generic import pipeline as cpu
from tvm.relax.backend.cuda import pipeline as cuda
from tvm.s_tir import dlight

from bottega.compile.cost import at_batch
from bottega.compile.cuda_artifact import Precision
from bottega.compile.indices import SafeTakes
from bottega.compile.lower import import_onnx
from bottega.compile.native import llvm_target
from bottega.compile.target import named
from bottega.compile.tensor_cores import TensorCores

LARGE = 1024
"""Bytes from which a constant is shared; below, it stands in the code."""


@dataclass(frozen=True)
class Lowered:
    """Scheduled kernels in a module whose `main` takes the graph's inputs, then `weights` in order."""

    module: tvm.IRModule
    weights: list[np.ndarray]
    kernels: int
    tensor_cores: int


def target_of(arch: str) -> tvm.target.Target:
    """TVM's target for a GPU architecture; for `cpu`, this kind of machine without a GPU."""
    host = llvm_target(named("x86-64-v3"))
    if arch == "cpu":
        return host
    limits = {"max_num_threads": 1024, "max_threads_per_block": 1024, "thread_warp_size": 32}
    memory = {"max_shared_memory_per_block": 48 << 10, "registers_per_block": 64 << 10}
    return tvm.target.Target({"kind": "cuda", "arch": arch, **limits, **memory}, host=host)


def lower_cuda(model: onnx.ModelProto, batch: int, precision: Precision, target: tvm.target.Target) -> Lowered:
    """The graph at `batch` rows as kernels for `target`. Inputs and outputs keep their types in either precision."""
    transform, gpu = relax.transform, target.kind.name == "cuda"
    passes = [SafeTakes(), transform.DecomposeOpsForInference(), transform.CanonicalizeBindings()]
    if precision == "fp16":
        passes += [transform.ConvertToDataflow(), transform.ToMixedPrecision(out_dtype="float32")]
    passes += [transform.FoldConstant(), transform.DeadCodeElimination()]
    passes += (cuda if gpu else cpu).library_dispatch_passes(target)
    passes += [transform.LegalizeOps(), transform.AnnotateTIROpPattern(), transform.FoldConstant()]
    passes += [transform.FuseOps(), transform.FuseTIR(), transform.DeadCodeElimination()]
    if gpu:
        passes.append(_schedules())
    with target:
        module = tvm.transform.Sequential(passes)(import_onnx(at_batch(model, batch)))
    module, weights = share_constants(module)
    called = _called(module)
    products = sum("mma_sync" in module[name].script() for name in called)
    return Lowered(module, weights, len(called), products)


def _schedules() -> tvm.transform.Pass:
    """Gives each kernel the schedule of the first rule that fits it."""
    gpu = dlight.gpu
    rules = (TensorCores(), gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    return dlight.ApplyDefaultSchedule(*map(_Careful, rules))


class _Careful(dlight.ScheduleRule):
    """A rule that leaves a kernel to the next one where it fails: TVM's do on shapes that they were not written for."""

    def __init__(self, rule: dlight.ScheduleRule) -> None:
        self.rule = rule

    def apply(self, func: tvm.tirx.PrimFunc, target: tvm.target.Target, tunable: bool) -> object:
        """The rule's schedule, or None where it does not fit."""
        try:
            return self.rule.apply(func, target, tunable)
        except Exception:  # noqa: BLE001  rules fail by assertions, missing attributes and errors of the scheduler
            return None


def build_library(lowered: Lowered, target: tvm.target.Target) -> tvm.relax.VMExecutable:
    """Machine code of the kernels, and the program that launches them: on a GPU in CUDA graphs, where they do not
    touch what differs between calls."""
    stages = cuda if target.kind.name == "cuda" else cpu
    pipeline = tvm.transform.Sequential(stages.dataflow_lower_passes(target) + stages.finalize_passes(target))
    with target, tvm.transform.PassContext(config={"relax.backend.use_cuda_graph": True}):
        return tvm.compile(lowered.module, target=target, relax_pipeline=pipeline)


def share_constants(module: tvm.IRModule) -> tuple[tvm.IRModule, list[np.ndarray]]:
    """`module` with the large constants of `main` as parameters after its inputs, and their values in order."""
    main = module["main"]
    found = _Constants()
    body = found.visit_expr(main.body)
    parameters = [*main.params, *found.parameters]
    attributes = {**dict(main.attrs or {}), "num_input": len(main.params), "global_symbol": "main"}
    shared = relax.Function(parameters, body, main.ret_ty, main.is_pure)
    module = tvm.IRModule({**module.functions, module.get_global_var("main"): shared.with_attrs(attributes)})
    return module, [constant.value.numpy() for constant in found.constants]


@relax.expr_functor.mutator
class _Constants(relax.PyExprMutator):
    """Replaces each large constant by a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.constants: list[GenericConst] = []
        self.parameters: list[relax.Var] = []

    def visit_generic_const_(self, constant: GenericConst) -> relax.Expr:
        if constant.value.numpy().nbytes < LARGE:
            return constant
        for known, parameter in zip(self.constants, self.parameters, strict=True):
            if known.same_as(constant):
                return parameter
        self.constants.append(constant)
        self.parameters.append(relax.Var(f"weight_{len(self.constants)}", constant.ty))
        return self.parameters[-1]


def _called(module: tvm.IRModule) -> list[str]:
    """Names of the kernels that `main` calls, in order, as often as it does."""
    names: list[str] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == "relax.call_tir":
            names.append(expression.args[0].name_hint)

    relax.analysis.post_order_visit(module["main"].body, visit)
    return names
