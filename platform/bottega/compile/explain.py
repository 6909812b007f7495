"""Explanation: the intermediate forms of a model on its way to machine code, as text, for one batch size."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import tvm

from bottega.compile import tree_kernels
from bottega.compile.graph import read_graph
from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx, tvm_errors
from bottega.compile.native import llvm_target
from bottega.compile.nests import fusion, heaviest, tiling
from bottega.compile.network import entry, size_for
from bottega.compile.schedule import schedule
from bottega.compile.target import Target, host
from bottega.compile.tensors import shape_of
from bottega.compile.tree_tables import COMPLETE_DEPTH, form_of
from bottega.compile.trees import Ensemble
from bottega.compile.xgboost_trees import read_xgboost
from bottega.training.package import ModelPackage

_PRODUCT = re.compile(r"\t(?:vfn?m|vpdp|fml|vmul)\w*\t")
"""An instruction that multiplies whole vectors, of x86-64 or of AArch64."""
_CODE = re.compile(r"(?m)^(?:\t[^.\s].*|\.LBB\w+:|[A-Za-z_][^\s]*:).*$")
"""An instruction, or the label of a loop or a function; the rest is for linkers and debuggers."""


def explain(package: Path, batch: int = 16, target: Target | None = None) -> dict[str, str]:
    """Stage by stage, in order: for a network `onnx`, `relax`, `fusion` (what each kernel holds), `kernels` before and
    `scheduled` after scheduling, `tiling` (how the loops were cut), `function`, the one that becomes machine code, and
    `heaviest`, the inner loop of the kernel that runs longest; for trees `tables` and the kernels; `assembly` last.

    Raises what the build raises for a model that cannot be compiled.
    """
    loaded, chosen = ModelPackage.load(package), target or host()
    if loaded.info.kind == "trees":
        return _trees(read_xgboost(loaded.model), chosen)
    size, graph = size_for(batch), read_onnx(loaded.model)
    return _network(graph, {graph.graph.input[0].name: (size, len(loaded.info.plan.features))}, size, chosen)


def explain_plain(source: bytes | Ensemble, batch: int = 16, target: Target | None = None) -> dict[str, str]:
    """The same of a plain model: an ONNX model's bytes, or an ensemble."""
    chosen = target or host()
    if isinstance(source, Ensemble):
        return _trees(source, chosen)
    graph = read_graph(source)
    size = batch if graph.batched else 1
    with tvm_errors():
        return _network(graph.model, {t.name: shape_of(t, size) for t in graph.inputs}, size, chosen)


def _network(graph: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], size: int, target: Target) -> dict[str, str]:
    llvm = llvm_target(target)
    imported = import_onnx(graph, shapes)
    kernels = lower(imported, llvm)
    scheduled = schedule(kernels, target)
    function = join(scheduled, entry(size)).function
    return {
        "onnx": _without_weights(graph.graph),
        "relax": imported.script(),
        "fusion": fusion(kernels),
        "kernels": kernels.script(),
        "scheduled": scheduled.script(),
        "tiling": tiling(kernels, scheduled),
        "function": function.script(),
        "heaviest": _inner_loop(scheduled, heaviest(kernels), llvm),
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


def _inner_loop(scheduled: tvm.IRModule, kernel: str, target: tvm.target.Target) -> str:
    """What a kernel became: the part of its assembly between two labels with the most products of vectors."""
    alone = scheduled[kernel].with_attrs({"global_symbol": kernel})
    blocks = re.split(r"(?m)^(?=\S+:)", _assembly(tvm.IRModule({kernel: alone}), target))
    loop = max(blocks, key=lambda block: len(_PRODUCT.findall(block)))
    again = re.search(rf"\tj\w+\t{re.escape(loop.partition(':')[0])}\b", loop)
    return f"{kernel}\n{loop[: again.end()] if again else loop}"


def _assembly(module: tvm.IRModule, target: tvm.target.Target) -> str:
    source = tvm.compile(module, target=target).mod.inspect_source("s")
    return "\n".join(_CODE.findall(source))
