"""The inference benchmark: rows keep their shape, wrong answers have none, and engines are judged by exact ones."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KEYS = ["model", "batch", "backend", "engine", "threads", "median_us", "max_rel_error"]


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "inference.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)


def check_rows(rows: list[dict], model: str, batch: int, backends: list[tuple[str, int]]) -> None:
    assert [(row["backend"], row["threads"]) for row in rows] == backends
    for row in rows:
        assert list(row) == KEYS
        assert (row["model"], row["batch"]) == (model, batch)
        assert row["median_us"] > 1
        assert 0 <= row["max_rel_error"] < 1e-5
        if row["backend"] == "bottega":
            assert row["engine"] in ("tvm", "onnxruntime")


@pytest.mark.slow
def test_a_small_run_gives_the_promised_rows_and_files(tmp_path: Path) -> None:
    out, picture = tmp_path / "inference.json", tmp_path / "inference.png"
    options = ("--models", "two_tower", "--batches", "1", "--backends", "bottega,onnxruntime,torch", "--rounds", "2")
    done = run(*options, "--json", "--out", str(out), "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    check_rows(rows, "two_tower", 1, [("bottega", 1), ("onnxruntime", 1), ("onnxruntime", 2), ("torch", 1)])
    kept = json.loads(out.read_text("utf-8"))
    assert [{key: row[key] for key in KEYS} for row in kept["rows"]] == rows
    assert all(low <= middle <= high for row in kept["rows"] for low, middle, high in (row["cpu_us"], row["wall_us"]))
    assert kept["rounds"] == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deepeta", "two_tower", "cnn", "trees_500x8"])
def test_all_engines_agree_with_the_exact_answer(model: str) -> None:
    from peers.inference.task import BACKENDS, missing

    done = run("--models", model, "--batches", "4", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    able = [name for name, backend in BACKENDS.items() if model in backend.models and not missing(name)]
    check_rows(json.loads(done.stdout), model, 4, [(name, n) for name in able for n in BACKENDS[name].threads])
    assert all(f"{name} is left out" in done.stderr for name in BACKENDS if missing(name))


@pytest.mark.parametrize(
    "options",
    [
        ("--models", "deepeta,abacus"),
        ("--models", "cnn,cnn"),
        ("--batches", "3"),
        ("--batches", "many"),
        ("--backends", "onnxruntime,slide_rule"),
        ("--rounds", "0"),
        ("--out", "no/such/folder.json"),
    ],
)
def test_bad_options_are_refused(options: tuple[str, str]) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert options[1] in done.stderr and done.stdout == ""


def test_a_model_that_no_chosen_backend_runs_is_refused() -> None:
    done = run("--models", "cnn", "--backends", "xgboost")
    assert done.returncode == 2
    assert "none of xgboost runs cnn" in done.stderr


def test_an_engine_that_is_wrong_or_fails_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peers.inference import child, report, with_onnxruntime, with_torch
    from peers.inference.case import Case, Run
    from peers.inference.prepare import prepare
    from peers.inference.task import Task

    task = Task("two_tower", (4,), ("onnxruntime", "torch"), 2, 5, str(tmp_path))
    prepare(task)
    load = with_onnxruntime.load

    def load_half_wrong(case: Case, threads: int) -> Run:
        right = load(case, threads)
        return right if threads == 1 else lambda inputs: [right(inputs)[0] * 1.001, right(inputs)[1]]

    def refuse(case: Case, threads: int) -> Run:
        raise RuntimeError("out of beads")

    monkeypatch.setattr(with_onnxruntime, "load", load_half_wrong)
    monkeypatch.setattr(with_torch, "load", refuse)
    right, wrong, failed = child.measure(task)
    assert right.wrong == "" and len(right.cpu_us) == len(right.wall_us) == 2
    assert "relative error 1.0e-03, more than 1e-05" in wrong.wrong
    assert failed.wrong == "RuntimeError: out of beads"
    (row,) = report.rows([right, wrong, failed])
    assert (row["backend"], row["threads"]) == ("onnxruntime", 1)
    assert report.table([right, wrong, failed]).count("WRONG") == 2


def test_best_items_are_judged_by_their_true_scores(tmp_path: Path) -> None:
    from peers.inference.case import make_case

    case = make_case("two_tower", 4, 3, tmp_path)
    answers = [list(case.network.torch(inputs).values()) for inputs in case.pool]
    assert case.error("torch", answers) < 1e-5
    scores, items = answers[0]
    for wrong in (np.roll(items, 1, axis=1), np.repeat(items[:, :1], 100, axis=1), items[::-1]):
        assert case.error("torch", [[scores, wrong], *answers[1:]]) > 1e-3


@pytest.mark.slow
def test_tree_answers_are_those_of_the_libraries(tmp_path: Path) -> None:
    import xgboost

    from peers.inference import trees

    trees.train_booster(tmp_path, 1)
    trees.train_forest(tmp_path, 1)
    features = trees.inputs(200, 7)["features"]
    assert np.isnan(features).any()
    booster = xgboost.Booster(model_file=tmp_path / trees.BOOSTER)
    assert booster.num_boosted_rounds() == trees.TREES
    exact = trees.booster_answer(tmp_path, features)[:, 0]
    np.testing.assert_allclose(booster.inplace_predict(features), exact, rtol=1e-5)
    forest = trees.load_forest(tmp_path)
    np.testing.assert_allclose(forest.predict(features), trees.forest_answer(tmp_path, features), rtol=1e-12)


def test_ratios_and_times_are_of_one_thread() -> None:
    from peers.inference import report
    from peers.inference.task import Measured

    def one(backend: str, threads: int, *times: float) -> Measured:
        return Measured("cnn", 16, backend, "engine", threads, tuple(t * 3 for t in times), times, 1e-7, "")

    measured = [one("bottega", 1, 20, 10, 40), one("onnxruntime", 1, 50), one("onnxruntime", 2, 5), one("jax", 1, 30)]
    assert [row["median_us"] for row in report.rows(measured)] == [20, 50, 15, 30]
    (line,) = report.ratios(measured).splitlines()[1:]
    assert line.split() == ["cnn", "16", "20.0", "engine", "jax", "30.0", "us", "1.50x", "2.50x"]
    assert report.ratios(measured[1:]).count("\n") == 0


@pytest.mark.skipif(bool(find_spec("treelite")), reason="treelite is installed")
def test_a_peer_that_is_not_installed_is_left_out() -> None:
    done = run("--models", "trees_500x8", "--backends", "treelite")
    assert done.returncode == 2
    assert "treelite is left out: treelite is not installed" in done.stderr
