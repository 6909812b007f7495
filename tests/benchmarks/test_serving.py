"""The serving benchmark: rows keep their shape, wrong answers have none, the client of gRPC calls as clients do."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KEYS = ["server", "case", "connections", "rps", "p50_ms", "p99_ms", "cpu_us", "rss_mb", "start_s"]
needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "serving.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)


def check_rows(rows: list[dict], expected: list[tuple[str, str, int]]) -> None:
    assert [(row["server"], row["case"], row["connections"]) for row in rows] == expected
    for row in rows:
        assert list(row) == KEYS
        assert row["rps"] > 1 and row["cpu_us"] > 0 and row["start_s"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["rss_mb"] > 10  # an interpreter


@needs_wrk
@pytest.mark.slow
def test_a_tiny_run_gives_the_promised_rows_and_files(tmp_path: Path) -> None:
    out, picture = tmp_path / "serving.json", tmp_path / "serving.png"
    cases = ["addsub", "binary_32", "grpc_1", "json_1", "json_32"]
    done = run(
        *("--peers", "", "--case", ",".join(cases), "--connections", "4", "--rounds", "1", "--seconds", "1"),
        *("--json", "--out", str(out), "--plot", str(picture)),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    check_rows(rows, [*(("bottega", case, 4) for case in cases), ("constant", "json_1", 4)])
    kept = json.loads(out.read_text("utf-8"))
    assert [{key: row[key] for key in KEYS} for row in kept["rows"]] == rows
    assert all(len(row["rps_turns"]) == 1 for row in kept["rows"])
    assert (kept["rounds"], kept["seconds"]) == (1, 1)
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_wrk
@pytest.mark.slow
def test_the_whole_endpoint_is_driven_by_both_and_timed_by_stage(tmp_path: Path) -> None:
    out = tmp_path / "serving.json"
    options = ("--case", "usecase", "--connections", "2", "--rounds", "1", "--seconds", "1", "--out", str(out))
    done = run("--peers", "", *options, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    check_rows(rows, [("bottega", "usecase_locust", 100), ("bottega", "usecase_wrk", 2)])
    kept = json.loads(out.read_text("utf-8"))
    assert kept["rows"] == rows
    assert kept["usecase"]["from_online_store"] >= 1
    for driver in kept["usecase"]["stages"]:
        stages = driver["stages_us"]
        assert all(stages[name] > 0 for name in ("parse", "queue", "features", "run", "post", "encode"))
        assert stages["total"] > stages["parse"] + stages["queue"]


@needs_wrk
@pytest.mark.slow
def test_a_peer_in_its_own_environment_answers_the_same(tmp_path: Path) -> None:
    cache = Path(os.environ.get("BOTTEGA_BENCHMARK_CACHE", tmp_path))
    options = ("--case", "json_1", "--connections", "1,4", "--rounds", "1", "--seconds", "1", "--cache", str(cache))
    done = run("--peers", "fastapi", *options, "--json")
    assert done.returncode == 0, done.stderr
    left_out = "fastapi is left out" in done.stderr  # where no package can be had
    servers = ["bottega", "constant", *([] if left_out else ["fastapi"])]
    check_rows(json.loads(done.stdout), [(server, "json_1", count) for server in servers for count in (1, 4)])


@pytest.mark.parametrize(
    "options",
    [
        ("--peers", "mlserver,abacus"),
        ("--peers", "fastapi,fastapi"),
        ("--case", "json_1,telepathy"),
        ("--connections", "0"),
        ("--connections", "many"),
        ("--rounds", "0"),
        ("--seconds", "half"),
    ],
)
def test_bad_options_are_refused(options: tuple[str, str]) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert options[1].split(",")[-1] in done.stderr and done.stdout == ""


def test_a_package_that_cannot_be_had_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peers.serving import environments

    monkeypatch.setitem(environments.PACKAGES, "fastapi", (str(tmp_path / "nothing.whl"),))
    with pytest.raises(environments.NotInstalled, match=r"nothing\.whl"):
        environments.interpreter("fastapi", tmp_path)
    assert not list(tmp_path.glob("*/installed"))


def test_the_grpc_client_calls_as_a_client_does() -> None:
    import grpc

    from peers.serving import drive, grpc_client

    def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request[::-1]

    async def refuse(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nobody here")

    class Service(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(refuse if details.method == "/refuse" else echo)

    async def talk() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Service()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        calls = [os.urandom(size) for size in (1, 150, 3_000)] * 60  # more than the first window of the connection
        assert await grpc_client.ask(port, drive.GRPC_PATH, calls) == [call[::-1] for call in calls]
        with pytest.raises(grpc_client.CallFailed, match="without a message"):
            await grpc_client.ask(port, "/refuse", calls)
        await server.stop(None)

    asyncio.run(talk())


def test_wrong_answers_are_told_from_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from peers.serving import race
    from peers.serving.server import Route, Server

    case = race.Case("json_1", [np.zeros((1, 20))], [np.array([2.0])])
    racer = race.Racer("abacus", Server((), {"json_1": Route("v2", "/")}), None, None)  # type: ignore[arg-type]
    for answer, reason in (([2.00001], ""), ([2.001], "error of 5.0e-04"), ([2.0, 2.0], "2 values"), ([np.nan], "nan")):
        monkeypatch.setattr(race, "ask", lambda *_, answer=answer: [np.array(answer)])
        if not reason:
            race.check(racer, case)
            continue
        with pytest.raises(race.ServerFailed, match=reason):
            race.check(racer, case)


def test_ratios_are_medians_of_the_rounds() -> None:
    from peers.serving import race, report
    from peers.serving.drive import Driven
    from peers.serving.server import Server

    def racer(name: str, rps: tuple[int, ...], p99_ms: float) -> race.Racer:
        turns = [race.Turn(Driven(each, 1.0, p99_ms / 2, p99_ms, 0), 10.0) for each in rps]
        return race.Racer(name, Server((), {}), None, None, turns={("json_1", 64): turns})  # type: ignore[arg-type]

    racers = [racer("bottega", (1000, 4000, 3000), 2), racer("mlserver", (100, 100, 100), 50)]
    racers += [racer("fastapi", (50, 400, 150), 9), racer("constant", (2000, 4000, 6000), 1)]
    found = {ratio.what: ratio.times for ratio in report.ratios(racers)}
    assert found == {
        "one row as JSON / best peer (fastapi), 64 connections": 20,
        "one row as JSON / constant answer (constant), 64 connections": 0.5,
        "MLServer's p99 / p99, one row as JSON, 64 connections": 25,
    }
    assert report.targets(racers).count("MISSED") == 1
    racers[0].wrong = "off by one"
    assert [row["server"] for row in report.rows(racers)] == ["mlserver", "fastapi", "constant"]
    assert "bottega: WRONG: off by one" in report.table(racers)
