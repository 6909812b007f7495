"""The same models on several inference engines: what a call costs each of them, where their answers are right.

    .venv/bin/python benchmarks/inference.py --models deepeta,trees_500x8 --batches 1,16,256

The models are three networks (benchmarks/models) with drawn weights and 500 trees of depth 8 over 30 features
(peers/inference/trees.py). `bottega` is the artefact that the build of plain models makes of them, loaded and called as
a program would; its engine is the one that the artefact's manifest names for the batch, TVM or ONNX Runtime. Each model
is prepared, and each batch of it measured, in a fresh process, in which the engines take short turns: arrays of numpy
in, arrays of numpy out.

All engines run on one thread, ONNX Runtime also on two. On one thread a call's time is its time on the CPU (of all
threads of the process), which a busy machine distorts least; on two it is the time on the wall. Times are medians over
`--rounds` turns; the tables and `--out` also tell the quartiles, and both kinds of time.

An answer counts only where it is right: before and after the race all answers to the drawn batches are compared with
float64 (torch in double precision; the leaves that XGBoost finds; scikit-learn's trees walked in numpy). `--json`
prints a list with one row for each engine that was right: {"model", "batch", "backend", "engine", "threads",
"median_us", "max_rel_error"}. An engine that failed or was wrong has no row; it is told on standard error, and the exit
status is 1. A backend that cannot run here is left out with a note.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from peers.inference import process, report
from peers.inference.task import BACKENDS, BATCHES, MODELS, Measured, Task, missing


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that files and processes go too
    parser = _parser()
    options = parser.parse_args(arguments)
    backends = [backend for backend in options.backends if not _left_out(backend)]
    models = {model: tuple(b for b in backends if model in BACKENDS[b].models) for model in options.models}
    for model, able in models.items():
        if not able:
            parser.error(f"none of {', '.join(options.backends)} runs {model} here")
    measured: list[Measured] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bottega-inference-") as folder:
        for model, able in models.items():
            found, failed = _measure(model, able, Path(folder), options)
            measured += found
            wrong += failed
    _tell_all(measured, options)
    for line in wrong:
        _tell(line)
    return 1 if wrong else 0


def _measure(
    model: str, backends: tuple[str, ...], folder: Path, options: argparse.Namespace
) -> tuple[list[Measured], list[str]]:
    """What was measured of a model, and what went wrong."""
    measured: list[Measured] = []
    wrong: list[str] = []
    task = Task(model, tuple(options.batches), backends, options.rounds, options.seed, str(folder / model))
    _tell(f"{model}: preparing")
    try:
        process.prepare(task)
    except process.TaskFailed as error:
        return [], [f"{model}: {error}"]
    for batch in options.batches:
        _tell(f"{model}: batch {batch}")
        try:
            measured += process.measure(msgspec.structs.replace(task, batches=(batch,)))
        except process.TaskFailed as error:
            wrong.append(f"{model}, batch {batch}: {error}")
    wrong += [f"{one.model}, batch {one.batch}: {one.backend}: {one.wrong}" for one in measured if one.wrong]
    return measured, wrong


def _tell_all(measured: Sequence[Measured], options: argparse.Namespace) -> None:
    """Print rows or tables; write the files that are asked for."""
    if options.json:
        print(json.dumps(report.rows(measured), indent=2))
    else:
        for model, batch in dict.fromkeys((one.model, one.batch) for one in measured):
            print(report.table([one for one in measured if (one.model, one.batch) == (model, batch)]), end="\n\n")
        print(report.ratios(measured))
    if options.out:
        options.out.write_text(
            json.dumps(report.results(measured, options.rounds, _commit()), indent=2) + "\n", "utf-8"
        )
    if options.plot and not all(one.wrong for one in measured):
        report.plot(measured, options.plot)


def _left_out(backend: str) -> bool:
    reason = missing(backend)
    if reason:
        _tell(f"{backend} is left out: {reason}")
    return bool(reason)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The same models on several inference engines.")
    parser.add_argument("--models", type=_names(MODELS), default=list(MODELS))
    parser.add_argument("--batches", type=_batches, default=list(BATCHES))
    parser.add_argument("--backends", type=_names(tuple(BACKENDS)), default=list(BACKENDS))
    parser.add_argument("--rounds", type=_positive, default=40, help="turns of each engine; medians are told")
    parser.add_argument("--seed", type=int, default=0, help="of weights, training data and inputs")
    parser.add_argument("--json", action="store_true", help="rows for machines")
    parser.add_argument("--out", type=_file, metavar="FILE.json", help="rows with their spread, and the machine")
    parser.add_argument("--plot", type=_file, metavar="FILE.png")
    return parser


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if set(names) - set(known) or len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(f"{text}: name each once, of {', '.join(known)}")
        return names

    return parse


def _batches(text: str) -> list[int]:
    return [int(name) for name in _names(tuple(map(str, BATCHES)))(text)]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _file(text: str) -> Path:
    """Refused before anything is measured, not after."""
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} lies in a folder that does not exist")
    return Path(text)


def _commit() -> str:
    """The commit that was measured; "" where this is no checkout."""
    git = shutil.which("git")
    command = [git or "", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() if git else ""


if __name__ == "__main__":
    sys.exit(main())
