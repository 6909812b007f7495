"""One feature job on several engines: what it costs each of them, where they all give the same values.

    .venv/bin/python benchmarks/features.py --engines pandas,polars,duckdb,bottega --events 1_000_000 --labels 100_000

The job (peers/features/job.py) gives each label 20 windowed features as they were known at its moment. The events are
drawn from a seed and written to Parquet once; each engine reads them, and writes its answer as Parquet, in a process of
its own with two threads. All of that counts: starting, importing, reading, computing, writing. Engines take turns, so
that a busy minute of the machine hits all of them. On a shared machine trust CPU seconds, not wall seconds.

An answer counts only where it is right, to the last bit: a sample of 500 labels is compared with brute force, and the
fingerprint of all values with the other engines'. `--json` prints a list with one row for each engine that was right:
{"job", "engine", "events", "labels", "cpu_s", "wall_s", "peak_mb"}, medians over `--repeat` runs (see
peers/features/measure.py for what is measured). An engine that failed, ran out of memory or was wrong has no row; it is
told on standard error, and the exit status is 1. `--memory-limit` is given to engines that have such a setting; a run
that takes more memory keeps its row (peak_mb tells) and a remark in the table.

`--job online` measures Bottega's online store instead: reads of 20 features, and the updater over `--events` (rows:
peers/features/online.py). Its values, too, are compared with brute force.

Feast needs an older pandas than Bottega, so it races in an environment of its own, with engines that need no Bottega:

    python -m venv .venv-feast
    .venv-feast/bin/pip install "feast[duckdb]==0.67.0" psutil msgspec
    .venv-feast/bin/python benchmarks/features.py --engines feast,duckdb
"""

import argparse
import importlib.util
import json
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from peers.features import online, report
from peers.features.child import Ground
from peers.features.job import FEATURES, READ_FEATURES, Feature, Job
from peers.features.race import TaskFailed, race

ENGINES = {
    "pandas": "pandas",
    "polars": "polars",
    "duckdb": "duckdb",
    "spark": "pyspark",
    "feast": "feast",
    "bottega": "bottega",
    "bottega_spark": "pyspark",
}
"""The engines, and the package that each needs."""
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that files and processes go too
    parser = _parser()
    options = parser.parse_args(arguments)
    engines = options.engines if options.job == "zone_driver" else ["bottega"]
    missing = [engine for engine in engines if not _runs(engine)]
    if missing:
        parser.error(f"{', '.join(missing)} cannot run here: `make engines` installs what they need (Spark needs Java)")
    if options.job == "online" and options.plot:
        parser.error("the online job has no plot")
    with tempfile.TemporaryDirectory(prefix="bottega-features-") as folder:
        try:
            wrong = (_race if options.job == "zone_driver" else _online)(options, Path(folder))
        except TaskFailed as error:
            wrong = [str(error)]
    for line in wrong:
        _tell(line)
    return 1 if wrong else 0


def _race(options: argparse.Namespace, folder: Path) -> list[str]:
    """Print the race; returns what went wrong."""
    ground = _ground(options, folder, FEATURES[: options.features])
    results = race(ground, options.engines, options.repeat, _tell)
    job, limit_mb = _job_name(options), options.memory_limit / 1e6
    if options.json:
        print(json.dumps(report.rows(job, options.events, options.labels, results), indent=2))
    else:
        print(report.table(results, limit_mb))
    if options.plot:
        title = f"{job}: {options.labels:,} labels, {options.events:,} events, {options.features} features"
        report.plot(title, results, limit_mb, options.plot)
    return [f"{result.engine}: {result.wrong}" for result in results if result.wrong]


def _online(options: argparse.Namespace, folder: Path) -> list[str]:
    """Print the online job's rows; returns what went wrong."""
    for name in ("reads", "updates"):
        (folder / name).mkdir()
    grounds = _ground(options, folder / "reads", READ_FEATURES), _ground(options, folder / "updates", FEATURES)
    rows, wrong = online.online(*grounds, _tell)
    print(json.dumps(rows, indent=2) if options.json else online.table(rows))
    return wrong


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="One feature job on several engines.")
    parser.add_argument("--job", choices=["zone_driver", "online"], default="zone_driver")
    parser.add_argument("--events", type=_positive, default=1_000_000)
    parser.add_argument("--labels", type=_positive, default=100_000)
    parser.add_argument("--features", type=_features, default=len(FEATURES), help="the first so many of the 20")
    parser.add_argument("--engines", type=_engines, default=["pandas", "polars", "duckdb", "bottega"])
    parser.add_argument("--memory-limit", type=_bytes, default=_bytes("2.5GiB"), help="2.5GiB, 800MB")
    parser.add_argument("--late-share", type=_share, default=0.01, help="share of events that become known late")
    parser.add_argument("--duplicates", type=_share, default=0.0, help="share of rows that are copies of others")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=_positive, default=1, help="runs an engine; medians are told")
    parser.add_argument("--json", action="store_true", help="rows for machines")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _features(text: str) -> int:
    number = _positive(text)
    if number > len(FEATURES):
        raise argparse.ArgumentTypeError(f"{text} is more than the {len(FEATURES)} there are")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 0.5")
    return share


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9.]+) ?(MB|GB|MiB|GiB)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no size: write 2.5GiB or 800MB")
    return int(float(found[1]) * _UNITS[found[2]])


def _engines(text: str) -> list[str]:
    engines = text.split(",")
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown or len(set(engines)) < len(engines):
        raise argparse.ArgumentTypeError(f"{text}: name each once, of {', '.join(ENGINES)}")
    return engines


def _runs(engine: str) -> bool:
    needs_java = ENGINES[engine] == "pyspark"
    return importlib.util.find_spec(ENGINES[engine]) is not None and (not needs_java or bool(shutil.which("java")))


def _job_name(options: argparse.Namespace) -> str:
    """`zone_driver`, and what makes it another job: fewer features, copies of events."""
    fewer = f"_{options.features}" if options.features < len(FEATURES) else ""
    return f"zone_driver{fewer}{'_copies' if options.duplicates else ''}"


def _ground(options: argparse.Namespace, folder: Path, features: tuple[Feature, ...]) -> Ground:
    scratch = folder / "scratch"
    scratch.mkdir()
    job = Job(
        str(folder / "events.parquet"),
        str(folder / "labels.parquet"),
        str(folder / "answer.parquet"),
        str(scratch),
        features,
        options.memory_limit,
        bool(options.duplicates),
    )
    return Ground(
        job,
        options.events,
        options.labels,
        options.late_share,
        options.duplicates,
        options.seed,
        str(folder),
        str(folder / "reference.parquet"),
    )


if __name__ == "__main__":
    sys.exit(main())
