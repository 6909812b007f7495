"""`bottega compile`: from a registered version, or a model file, to native code that is checked and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bottega.cli.console import JsonOption, Session, WorkspaceOption, open_session, table
from bottega.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from bottega.compile.manifest import Manifest
    from bottega.compile.target import Target

BUCKETS = "1,4,16,64,256"
EXPLAINED_ROWS = 16
PRECISIONS = ("fp32", "int8")


def compile_model(
    reference: Annotated[
        str, typer.Argument(help="eta@champion, eta/3, or a file: .onnx, .ubj, .json, .npz.", metavar="MODEL")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for the artefact; default: the workspace's repository.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="cpu is this machine; cpu:x86-64-v3 a level to ship; cuda, or cuda:sm_90.")
    ] = "cpu",
    buckets: Annotated[
        str, typer.Option("--buckets", help="Batch sizes with code of their own; larger batches are cut.")
    ] = BUCKETS,
    precision: Annotated[
        str, typer.Option("--precision", help="Of a network's products: fp32; int8 on a CPU; fp16 on a GPU.")
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="int8 of a file: a .npz of rows, an array for each input, and `label`."),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="int8 of a file: mae, accuracy, auc, hit@10; default: distance from fp32.")
    ] = "",
    max_loss: Annotated[
        float, typer.Option("--max-loss", help="int8 is refused where the metric loses more; 0.01 is one per cent.")
    ] = 0.01,
    tune: Annotated[
        int, typer.Option("--tune", min=0, help="Candidates that a search may try for each of the heaviest kernels.")
    ] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the code of each stage instead: what was fused, tiled, assembled.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a model to native code, check parity, measure it against ONNX Runtime on this machine."""
    sizes, (kind, _, architecture) = _sizes(buckets), target.partition(":")
    if kind == "cuda":
        _compile_for_gpu(open_session(workspace, as_json), reference, out, sizes, precision, architecture)
        return
    chosen = _target(target)
    if precision not in PRECISIONS:
        raise Unsupported(f"{precision!r} is no precision on a CPU.", next_step=f"Choose of {', '.join(PRECISIONS)}.")
    session = open_session(workspace, as_json)
    if explain:
        batch = EXPLAINED_ROWS if buckets == BUCKETS else sizes[0]
        _explain(session, reference, batch, chosen)
        return
    asked = {"target": chosen, "bound": max_loss, "trials": tune}
    _compile(session, reference, out, sizes, _as_int8(reference, asked, calibration, metric, precision == "int8"))


def _as_int8(
    reference: str, asked: dict[str, object], calibration: Path | None, metric: str, int8: bool
) -> dict[str, object]:
    """What is asked, with what makes it int8: a registered version brings its own rows, a file needs some."""
    from bottega.pipeline.model_files import is_model_file

    if not is_model_file(reference):
        return asked | {"int8": int8}
    if int8 and calibration is None:
        raise InvalidInput("int8 needs rows of the model's inputs.", next_step="Give --calibration ROWS.npz.")
    return asked | ({"calibration": calibration, "metric": metric} if int8 else {})


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InvalidInput(f"The buckets are {text!r}.", next_step="Give whole numbers with commas between: 1,16,256.")
    return tuple(int(part) for part in parts)


def _target(text: str) -> "Target":
    from bottega.compile.target import parse

    return parse(text)


def _explain(session: Session, reference: str, batch: int, target: "Target") -> None:
    from bottega.pipeline.model_files import explain_file, is_model_file
    from bottega.pipeline.release import explain_version

    if is_model_file(reference):
        stages = explain_file(Path(reference), batch, target)
    else:
        stages = explain_version(session.workspace, reference, batch, target)
    session.emit(stages, "\n\n".join(f"# {name}\n{text}" for name, text in stages.items()).replace("[", r"\["))


def _compile(session: Session, reference: str, out: Path | None, sizes: tuple[int, ...], asked: dict[str, Any]) -> None:
    from bottega.pipeline.model_files import compile_file, is_model_file
    from bottega.pipeline.release import compile_version

    with session.progress() as progress:
        if is_model_file(reference):
            out, found = compile_file(session.workspace, Path(reference), out, sizes, progress, **asked)
        else:
            found = compile_version(session.workspace, reference, sizes, progress, out=out, **asked)
    lines = [*_tensors(found), *found.notes, *_cost(found), _summary(found), _next(found, out)]
    session.emit(found, _engines(found), *lines)


def _compile_for_gpu(
    session: Session, reference: str, out: Path | None, sizes: tuple[int, ...], precision: str, architecture: str
) -> None:
    """Nothing runs here: the table says what was compiled."""
    from bottega.pipeline.model_files import compile_file_for_gpu, is_model_file

    if not is_model_file(reference) or out is None:
        raise InvalidInput("For a GPU a file is compiled into a folder.", next_step="Give an .onnx file, and --out.")
    with session.progress() as progress:
        progress("Compiling", 0, 0)
        found = compile_file_for_gpu(Path(reference), out, sizes, precision, architecture)
    rows = [(b.batch, b.library, b.kernels, b.tensor_cores, b.flops / 1e6, b.bytes / 1e6) for b in found.buckets]
    columns = ("batch", "library", "kernels", "on tensor cores", "MFLOP", "MB moved")
    session.emit(found, table("", columns, rows), f"Written to {out} for {found.arch}, {found.precision}.")


def _engines(found: "Manifest"):  # type: ignore[no-untyped-def]  # rich is imported by the console
    rows = [(b.batch, b.engine, b.entry or "-", b.tvm_us, b.onnxruntime_us, b.speedup) for b in found.engines]
    return table("", ("batch", "engine", "function", "TVM us", "ONNX Runtime us", "ratio"), rows)


def _tensors(found: "Manifest") -> list[str]:
    """The tensors of a plain model, one a line."""
    if found.plan is not None:
        return []
    lines = []
    for way, tensors in (("in", found.inputs), ("out", found.outputs)):
        for tensor in tensors:
            shape = ", ".join("batch" if size == -1 else str(size) for size in tensor.shape)
            ids = f", ids {min(tensor.lowest)} to {max(tensor.highest)}" if tensor.lowest else ""
            missing = ", NaN where missing" if tensor.missing else ""
            lines.append(f"{way}: {tensor.name} {tensor.datatype} ({shape}){ids}{missing}".replace("[", r"\["))
    return lines


def _cost(found: "Manifest") -> list[str]:
    """What int8 costs, in a line."""
    cost = found.precision
    if cost is None:
        return []
    kept = f", {len(cost.kept)} kept in fp32" if cost.kept else ""
    return [
        f"{cost.kind}: {cost.metric} {cost.metric_float:.5g} in fp32, {cost.metric_quantised:.5g} in {cost.kind}, "
        f"a loss of {cost.loss:.2%} on {cost.rows:,} rows; {len(cost.quantised)} layers{kept}."
    ]


def _summary(found: "Manifest") -> str:
    name = f"{found.usecase} version {found.version} ({found.model})" if found.plan else found.model
    parity = found.parity
    return (
        f"{name} for {found.target.level}: largest relative error {parity.max_rel_error:.2g} "
        f"against {parity.against} on {parity.rows:,} rows."
    )


def _next(found: "Manifest", folder: Path | None) -> str:
    if folder is not None:
        return f"Written to {folder}"
    return f"Next: bottega deploy {found.usecase}/{found.version}"
