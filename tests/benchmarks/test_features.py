"""The feature benchmark: peers agree to the last bit, wrong answers are found, and what it tells keeps its shape."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
KEYS = ["job", "engine", "events", "labels", "cpu_s", "wall_s", "peak_mb"]
SMALL = ("--events", "20_000", "--labels", "2_000")
PEERS = [engine for engine in ("pandas", "polars", "duckdb", "feast") if find_spec(engine)]


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "features.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def write_ground(folder: Path, duplicates: float = 0.0):
    """A small city with its reference."""
    from peers.features.city import write_city
    from peers.features.job import FEATURES, Job
    from peers.features.reference import write_reference

    write_city(str(folder), 5_000, 300, 0.3, duplicates, 7)
    paths = [str(folder / name) for name in ("events.parquet", "labels.parquet", "answer.parquet", "scratch")]
    job = Job(*paths, FEATURES, 2**30, bool(duplicates))
    reference = str(folder / "reference.parquet")
    write_reference(job, 300, 7, reference)
    return job, reference


def test_engines_give_equal_values_and_rows_have_the_keys() -> None:
    done = run(*SMALL, "--engines", ",".join(PEERS), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["engine"] for row in rows] == PEERS
    for row in rows:
        assert list(row) == KEYS
        assert (row["job"], row["events"], row["labels"]) == ("zone_driver", 20_000, 2_000)
        assert row["cpu_s"] > 0 and row["wall_s"] > 0
        assert row["peak_mb"] > 30  # an interpreter with a library of arrays


@pytest.mark.slow
def test_copies_and_many_late_events_do_not_divide_the_engines(tmp_path: Path) -> None:
    picture = tmp_path / "features.png"
    options = ("--duplicates", "0.2", "--late-share", "0.3", "--features", "7", "--plot", str(picture))
    done = run(*SMALL, "--engines", ",".join(PEERS), *options)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == PEERS
    assert "WRONG" not in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("pyspark") or not shutil.which("java"), reason="Spark or Java is not installed")
def test_spark_agrees() -> None:
    done = run(*SMALL, "--engines", "spark,duckdb", "--duplicates", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    spark, duckdb = json.loads(done.stdout)
    assert spark["cpu_s"] > duckdb["cpu_s"]  # the virtual machine's time counts
    assert spark["peak_mb"] > duckdb["peak_mb"]


def test_a_limit_that_is_passed_is_told() -> None:
    done = run(*SMALL, "--engines", "duckdb", "--memory-limit", "50MB")
    assert done.returncode == 0
    assert "above the limit of 50 MB" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--engines", "pandas,abacus"),
        ("--engines", "duckdb,duckdb"),
        ("--memory-limit", "2.5"),
        ("--events", "0"),
        ("--features", "21"),
        ("--late-share", "2"),
    ],
)
def test_bad_options_are_refused(options: tuple[str, str]) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert options[1] in done.stderr


def test_the_city_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    from peers.features.city import write_city

    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        write_city(str(tmp_path / name), 3_000, 100, 0.01, 0.1, seed)
    a, b, c = (pq.read_table(tmp_path / name / "events.parquet") for name in "abc")
    assert a.equals(b) and not a.equals(c)
    late = np.mean(a["available_at"].cast(pa.int64()).to_numpy() > a["event_time"].cast(pa.int64()).to_numpy())
    assert 0.05 < late < 0.2  # the late ones and the copies
    assert len(a) - len(set(a["event_id"].to_pylist())) == 300


def test_the_judge_finds_a_wrong_value_a_missing_row_and_a_difference_outside_the_sample(tmp_path: Path) -> None:
    from peers.features import with_pandas
    from peers.features.reference import judge, write_reference

    job, reference = write_ground(tmp_path, duplicates=0.1)
    with_pandas.answer(job)
    right, fingerprint = judge(job, reference)
    assert right == ""
    answer = pq.read_table(job.answer)
    name = job.features[0].name
    position = answer.column_names.index(name)

    pq.write_table(answer.slice(1), job.answer)
    assert "299 rows in place of one for each of 300 labels" in judge(job, reference)[0]

    values = answer[name].to_numpy().copy()
    values[5] = np.nextafter(values[5], np.inf)
    pq.write_table(answer.set_column(position, name, pa.array(values)), job.answer)
    assert f"{name} of label 5 is " in judge(job, reference)[0]

    write_reference(job, 1, 7, reference)  # a sample of one label, which is not label 5
    assert pq.read_table(reference)["label"][0].as_py() != 5
    found, other = judge(job, reference)
    assert found == "" and other != fingerprint


def test_a_failing_engine_is_told_and_its_memory_and_time_are_measured(tmp_path: Path) -> None:
    from peers.features.measure import measure

    cost = measure("abacus", b'{"events":"","labels":"","answer":"","scratch":"","features":[],"memory_bytes":1}')
    assert "No module named 'peers.features.with_abacus'" in cost.failed
    assert cost.cpu_s > 0 and cost.peak_mb > 5


def test_a_race_tells_who_differs_and_who_failed(tmp_path: Path) -> None:
    from peers.features import report
    from peers.features.race import Result

    results = [
        Result("right", 1.0, 2.0, 300.0, ""),
        Result("large", 1.0, 2.0, 900.0, ""),
        Result("wrong", 1.0, 2.0, 300.0, "a value differs"),
    ]
    assert [row["engine"] for row in report.rows("zone_driver", 1, 1, results)] == ["right", "large"]
    _, first, second, third = report.table(results, 500).splitlines()
    assert first.split() == ["right", "1.00", "2.00", "300"]
    assert second.endswith("above the limit of 500 MB")
    assert third.endswith("WRONG: a value differs")


@pytest.mark.slow
def test_the_online_job_reads_right_values_and_tells_its_costs() -> None:
    done = run("--job", "online", "--events", "20_000", "--labels", "3_000", "--duplicates", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    *reads, update = json.loads(done.stdout)
    assert [(row["job"], row["entities"], row["tiles"]) for row in reads] == [
        ("online_read", 1, 57),
        ("online_read", 1, 2010),
        ("online_read", 100, 57),
    ]
    assert all(set(KEYS) < set(row) and row["named_cpu_us"] > 0 and row["cpu_us"] > 0 for row in reads)
    assert update["job"] == "online_update"
    assert update["events"] == 20_000
    assert 50 < update["labels"] < 150  # those of the last of 30 days
    assert update["events_per_cpu_s"] == pytest.approx(update["events"] / update["cpu_s"], rel=0.01)
