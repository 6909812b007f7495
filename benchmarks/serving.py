"""One model behind several servers: requests a second, latency and cost, where their answers are right.

    .venv/bin/python benchmarks/serving.py --peers mlserver,fastapi --case json_1,json_32

The model is an XGBoost regressor (200 trees of depth 6, 20 features) trained on drawn rows. `bottega` is the artefact
that the build of plain models makes of it, in a model repository, behind `bottega serve --repository` with its metrics
and its prediction log. `constant` is the limit of its stack: uvicorn with httptools and uvloop, and an application that
answers fixed bytes. Each peer is installed into an environment of its own under `--cache`
(peers/serving/environments.py pins the versions) and set up as its documentation advises, with its batching where it
has one (peers/serving/with_<peer>.py). A peer that does not install or start is left out, and the reason told.

The cases: `json_1` and `json_32`, one and 32 rows as JSON; `binary_32`, 32 rows as binary tensors; `grpc_1`, one row by
gRPC; `addsub`, the sum and the difference of two INT32 tensors [1, 16] as JSON, against Triton.
A server takes part in the cases that it can do. `usecase` is Bottega's alone: the whole ETA endpoint with its features
looked up, at 1,000 requests a second from Locust and at wrk's full speed, with the time by stage; `--workspace` names
one where ETA is deployed, and without it one is made of ten days of the simulated city.

wrk drives HTTP, and a client that costs little (peers/serving/grpc_client.py) gRPC; each connection sends its next
request when it has its answer. All servers are on one core, the driver on another. Servers are started once, and held
while others have their turn; in each of `--rounds` each has a turn of `--seconds` for each case and number of
connections. Figures are medians of the turns, ratios medians of the rounds' ratios.

All answers to the drawn requests are compared with XGBoost's before and after. `--json` prints a list with one row for
each: {"server", "case", "connections", "rps", "p50_ms", "p99_ms", "cpu_us", "rss_mb", "start_s"}; CPU time and memory
are of all processes of the server. A server that was wrong or failed requests has no row; it is told on standard error,
and the exit status is 1.
"""

import argparse
import importlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from peers.serving import model, report, usecase
from peers.serving.drive import DriverFailed
from peers.serving.environments import PACKAGES, NotInstalled, default_cache, interpreter
from peers.serving.race import Case, Cores, Racer, ServerFailed, check, cores, race, start
from peers.serving.server import Place, free_ports

CASES = ("json_1", "json_32", "binary_32", "grpc_1", "addsub", usecase.CASE)
OURS = ("bottega", "constant")


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that files and processes go too
    parser = _parser()
    options = parser.parse_args(arguments)
    if not shutil.which("wrk"):
        parser.error("there is no wrk: `apt-get install wrk` installs it")
    racers: list[Racer] = []
    whole: usecase.Measured | None = None
    with tempfile.TemporaryDirectory(prefix="bottega-serving-") as text:
        folder = Path(text)
        try:
            racing = [name for name in options.case if name != usecase.CASE]
            if racing:
                model.train(folder / "model.ubj", options.seed)
                cases = [_case(name, folder / "model.ubj", options.seed) for name in racing]
                racers += _start_all(options, cases, cores(), folder)
                race(racers, cases, options.connections, options.rounds, options.seconds, cores().driver, folder, _tell)
        finally:
            for racer in racers:
                racer.running.stop()
        wrong = [f"{racer.name}: {racer.wrong}" for racer in racers if racer.wrong]
        if usecase.CASE in options.case:
            turns = options.connections, options.rounds, options.seconds
            try:
                whole = usecase.measure(options.workspace, *turns, cores(), folder, _tell)
            except (ServerFailed, DriverFailed) as error:
                wrong.append(str(error))
    _tell_all(racers, whole, options)
    for line in wrong:
        _tell(line)
    return 1 if wrong or not (racers or whole) else 0


def _start_all(options: argparse.Namespace, cases: Sequence[Case], on: Cores, folder: Path) -> list[Racer]:
    """The servers that started and whose first answers are right."""
    racers: list[Racer] = []
    try:
        for name in (*OURS, *options.peers):
            racer = _start(name, options.cache, cases, on, folder)
            if racer:
                racers.append(racer)
    except BaseException:
        for racer in racers:
            racer.running.stop()
        raise
    return racers


def _start(name: str, cache: Path, cases: Sequence[Case], on: Cores, folder: Path) -> Racer | None:
    """The server, started and checked; None, and the reason told, where it does not take part."""
    own = folder / name
    own.mkdir()
    try:
        python = interpreter(name, cache) if name in PACKAGES else Path(sys.executable)
        place = Place(own, python, *free_ports(3), folder / "model.ubj")
        server = importlib.import_module(f"peers.serving.with_{name}").server(place)
        able = [case for case in cases if case.name in server.routes]
        if not able:
            return None
        _tell(f"starting {name}")
        racer = start(name, server, place, able[0], on.server)
    except (NotInstalled, ServerFailed, subprocess.CalledProcessError) as error:
        _tell(f"{name} is left out: {error}")
        return None
    try:
        for case in able:
            check(racer, case)
    except ServerFailed as error:
        racer.wrong = str(error)
    return racer


def _case(name: str, path: Path, seed: int) -> Case:
    if name == "addsub":
        pairs = model.add_sub_requests(seed)
        return Case(name, pairs, model.add_sub_answers(pairs))
    requests = model.requests(int(name.rpartition("_")[2]), seed)
    return Case(name, requests, model.answers(path, requests))


def _tell_all(racers: Sequence[Racer], whole: usecase.Measured | None, options: argparse.Namespace) -> None:
    """Print rows or tables; write the files that are asked for."""
    more = whole.rows() if whole else []
    if options.json:
        print(json.dumps(report.rows(racers) + more, indent=2))
    else:
        if racers:
            print(report.table(racers))
            print(report.targets(racers))
        if whole:
            print(whole.table())
    if options.out:
        found = report.results(racers, options.rounds, options.seconds, _commit())
        if whole:
            found["rows"] = [*found["rows"], *more]  # type: ignore[misc]
            found[usecase.CASE] = whole.results()
        options.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    if options.plot:
        report.plot(racers, options.plot)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="One model behind several servers.")
    parser.add_argument("--peers", type=_names(tuple(PACKAGES)), default=list(PACKAGES), help="'' for none")
    parser.add_argument("--case", type=_names(CASES), default=list(CASES))
    parser.add_argument("--connections", type=_connections, default=[1, 16, 64])
    parser.add_argument("--rounds", type=_positive, default=5, help="turns of each server; medians are told")
    parser.add_argument("--seconds", type=_positive, default=2, help="length of a turn")
    parser.add_argument("--workspace", type=Path, help="where ETA is deployed, for the case usecase; default: made")
    parser.add_argument("--seed", type=int, default=0, help="of training data and requests")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of the peers' environments")
    parser.add_argument("--json", action="store_true", help="rows for machines")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows with their spread, and the machine")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    return parser


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if set(names) - set(known) or len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(f"{text}: name each once, of {', '.join(known)}")
        return names

    return parse


def _connections(text: str) -> list[int]:
    return [_positive(number) for number in text.split(",")]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _commit() -> str:
    """The commit that was measured; "" where this is no checkout."""
    git = shutil.which("git")
    command = [git or "", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() if git else ""


if __name__ == "__main__":
    sys.exit(main())
