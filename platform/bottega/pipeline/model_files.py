"""Model files: a model that was trained elsewhere, from its file to an artefact."""

from collections.abc import Sequence
from pathlib import Path

from bottega.compile.cuda import ARCH, build_cuda
from bottega.compile.cuda_artifact import CudaManifest
from bottega.compile.explain import explain_plain
from bottega.compile.manifest import Manifest
from bottega.compile.order import BUCKETS
from bottega.compile.plain_build import build_plain
from bottega.compile.quantise import BOUND
from bottega.compile.target import Target
from bottega.compile.tree_file import read_arrays
from bottega.compile.trees import Ensemble
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import InvalidData, InvalidInput, Unsupported
from bottega.pipeline.calibration import quantise_file
from bottega.pipeline.release import scheduler_for
from bottega.progress import Progress, silent
from bottega.serving.deployment import versions
from bottega.serving.protocol import check_name
from bottega.workspace import Workspace

SUFFIXES = (".onnx", ".ubj", ".json", ".npz")
"""ONNX, XGBoost's two formats, and scikit-learn's ensembles as `bottega.training.ensembles` writes them."""


def is_model_file(text: str) -> bool:
    """Whether a reference names a file and no registered model."""
    return text.endswith(SUFFIXES)


def read_model(path: Path) -> bytes | Ensemble:
    """An ONNX model's bytes, or an ensemble. Raises InvalidData for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidData(f"{path} cannot be read: {error.strerror}.") from None
    if path.suffix == ".onnx":
        return content
    return read_arrays(content) if path.suffix == ".npz" else read_xgboost(content)


def compile_file(
    workspace: Workspace,
    path: Path,
    out: Path | None = None,
    buckets: Sequence[int] = BUCKETS,
    progress: Progress = silent,
    *,
    target: Target | None = None,
    calibration: Path | None = None,
    metric: str = "",
    bound: float = BOUND,
    trials: int = 0,
) -> tuple[Path, Manifest]:
    """Compile a model file into `out`, or as the next version under its own name into the workspace's repository.

    With `calibration`, a file of rows, the model becomes one in int8, judged by `metric` and refused where it loses
    more than `bound`; `trials` is what a search may spend on each heavy kernel. Raises InvalidData for a file that is
    no model, GateFailed where int8 costs more, IntegrityError where native code disagrees with ONNX Runtime.
    """
    source, precision = read_model(path), None
    if calibration is not None:
        if not isinstance(source, bytes):
            raise Unsupported("Only networks are quantised; trees compare, and do not multiply.", next_step="Use fp32.")
        quantised = quantise_file(source, calibration, metric, bound, progress)
        source, precision = quantised.model, quantised.precision
    if out is None:
        name = check_name(path.stem, "model")
        out = workspace.repository / name / str(max(versions(workspace, name), default=0) + 1)
    elif out.exists() and out.is_file():
        raise InvalidInput(f"{out} is a file.", next_step="An artefact is a folder: name a new one.")
    manifest = build_plain(
        source,
        out,
        name=path.stem,
        version=out.name,
        key=workspace.signing_key(),
        buckets=buckets,
        target=target,
        precision=precision,
        scheduler=scheduler_for(workspace, trials, progress),
        progress=progress,
    )
    return out, manifest


def compile_file_for_gpu(
    path: Path, out: Path, buckets: Sequence[int], precision: str = "fp32", architecture: str = ""
) -> CudaManifest:
    """Compile an ONNX file for a GPU into the new folder `out`; it is checked and timed where there is one.

    Raises InvalidInput for a precision or an architecture that is none of a GPU, and what `build_cuda` raises.
    """
    source = read_model(path)
    if isinstance(source, Ensemble):
        raise Unsupported(f"{path} holds trees.", next_step="Only networks are compiled for a GPU: give an ONNX file.")
    if precision == "fp16":
        return build_cuda(source, buckets, "fp16", architecture or ARCH, out)
    if precision != "fp32":
        raise InvalidInput(f"The precision {precision!r} is none of a GPU.", next_step="Give fp32 or fp16.")
    return build_cuda(source, buckets, "fp32", architecture or ARCH, out)


def explain_file(path: Path, batch: int, target: Target | None = None) -> dict[str, str]:
    """The code of a model file at each stage of compiling for batches of `batch` rows, by stage."""
    return explain_plain(read_model(path), batch, target)
