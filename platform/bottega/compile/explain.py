"""Explanation: the intermediate forms of a model on its way to machine code, as text, for one batch size."""

from pathlib import Path

import onnx
import tvm

from bottega.compile import tree_kernels
from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx
from bottega.compile.native import llvm_target
from bottega.compile.network import entry, size_for
from bottega.compile.schedule import schedule
from bottega.compile.target import Target, host
from bottega.compile.tree_tables import COMPLETE_DEPTH, form_of
from bottega.compile.trees import Ensemble
from bottega.compile.xgboost_trees import read_xgboost
from bottega.training.package import ModelPackage


def explain(package: Path, batch: int = 16, target: Target | None = None) -> dict[str, str]:
    """Stage by stage, in order: for a network `onnx`, `relax`, `kernels` before and `scheduled` after scheduling, and
    `function`, the one that becomes machine code; for trees `tables` and the kernels; `assembly` last in both.

    Raises what the build raises for a model that cannot be compiled.
    """
    loaded, chosen = ModelPackage.load(package), target or host()
    if loaded.info.kind == "trees":
        return _trees(read_xgboost(loaded.model), chosen)
    return _network(loaded.model, len(loaded.info.plan.features), size_for(batch), chosen)


def _network(model: bytes, width: int, size: int, target: Target) -> dict[str, str]:
    graph, llvm = read_onnx(model), llvm_target(target)
    imported = import_onnx(graph, {graph.graph.input[0].name: (size, width)})
    kernels = lower(imported, llvm)
    scheduled = schedule(kernels, target)
    function = join(scheduled, entry(size)).function
    return {
        "onnx": _without_weights(graph.graph),
        "relax": imported.script(),
        "kernels": kernels.script(),
        "scheduled": scheduled.script(),
        "function": function.script(),
        "assembly": _assembly(tvm.IRModule({entry(size): function}), llvm),
    }


def _without_weights(graph: onnx.GraphProto) -> str:
    bare = onnx.GraphProto()
    bare.CopyFrom(graph)
    bare.ClearField("initializer")
    return onnx.printer.to_text(bare)


def _trees(ensemble: Ensemble, target: Target) -> dict[str, str]:
    form = form_of(ensemble)
    kernels = {"row_lanes": tree_kernels.row_lanes(form), "tree_lanes": tree_kernels.tree_lanes(form)}
    layout = "complete trees" if form.complete else f"deeper than {COMPLETE_DEPTH}, in their own shape"
    tables = (
        f"{ensemble.trees} trees of depth {ensemble.depth} with {len(ensemble.child)} nodes: {layout}\n"
        f"{ensemble.features} features as {form.numbers} columns of numbers and {form.codes} of categories, "
        f"{form.sums} sums in {form.dtype}, link {form.link}"
    )
    scripts = {name: kernel.script() for name, kernel in kernels.items()}
    return {"tables": tables, **scripts, "assembly": _assembly(tvm.IRModule(kernels), llvm_target(target))}


def _assembly(module: tvm.IRModule, target: tvm.target.Target) -> str:
    return tvm.compile(module, target=target).mod.inspect_source("s")
