"""From a package to TIR: the program, and the native functions that may serve each batch size."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bottega.compile import network, tree_kernels, tree_onnx
from bottega.compile.functions import add_functions
from bottega.compile.manifest import Bucket
from bottega.compile.program import Program
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.target import Target
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import InvalidData, InvalidInput, Unsupported
from bottega.training.package import ModelPackage


@dataclass(frozen=True)
class Lowered:
    """The program, the same model as ONNX, and whether the program holds the model or only functions."""

    program: Program
    onnx: bytes
    kind: str
    native: bool = True

    def candidates(self, batch: int) -> list[Bucket]:
        """The native functions that can serve batches of up to `batch` rows, not yet measured."""
        if not self.native:
            return []
        if self.kind == "trees":
            return [Bucket(batch, "tvm", name) for name in tree_kernels.NAMES]
        return [Bucket(batch, "tvm", network.entry(size), size) for size in network.sizes_for(batch)]


def load_package(folder: Path) -> ModelPackage:
    """The package. Raises InvalidData where the folder is none, or holds no model inputs to check parity on."""
    try:
        package = ModelPackage.load(folder)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise InvalidData(f"{folder} is no model package: {error}.", next_step="Train and register it again.") from None
    if not len(package.inputs) or package.inputs.shape[1] != len(package.info.plan.features):
        raise InvalidData(
            f"{folder} holds model inputs of shape {package.inputs.shape}.",
            next_step=f"Parity is checked on real rows of its {len(package.info.plan.features)} features: add some.",
        )
    return package


def lower_package(package: ModelPackage, target: Target, scheduler: Scheduler = schedule) -> Lowered:
    """Lower the model and the plan's functions.

    A network with an operator that TVM lacks stays with ONNX Runtime, and the program's notes say so. Raises
    Unsupported for trees that are not compiled, InvalidInput where model and plan do not fit each other.
    """
    program, width = Program(), len(package.info.plan.features)
    add_functions(program, package.functions, target)
    if package.info.kind == "trees":
        ensemble = read_xgboost(package.model)
        for what, model, plan in (
            ("features", ensemble.features, width),
            ("outputs", ensemble.outputs, package.info.plan.model().width),
        ):
            if model != plan:
                raise InvalidInput(f"The model has {model} {what}, the plan has {plan}.")
        tree_kernels.add_trees(program, ensemble)
        return Lowered(program, tree_onnx.to_onnx(ensemble), "trees")
    try:
        network.add_network(program, package.model, width, target, scheduler)
    except Unsupported as error:
        program.notes.append(f"The network runs on ONNX Runtime: {error.what}")
        return Lowered(program, package.model, "network", native=False)
    return Lowered(program, package.model, "network")
