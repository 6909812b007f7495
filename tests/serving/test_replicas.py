"""Several replicas on one port: each answers, one that dies comes back, all end well, and the metrics are of all."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bottega.errors import InvalidInput, Unavailable
from bottega.serving import deployment
from bottega.serving.address import Address, bind, read_server
from bottega.serving.log import read_predictions
from bottega.serving.metrics import Metrics
from bottega.serving.process import running, start, stop, wait_until_ready
from bottega.serving.replica import Replica, merged
from bottega.serving.replicas import reserved
from bottega.serving.server import main, run
from bottega.workspace import Workspace

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ports are shared on Linux")
ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
TWO = ("--replicas", "2")
Fresh = Callable[[], Workspace]


def samples(text: bytes, name: str) -> dict[str, float]:
    """A sample of the ETA model by replica."""
    found = [s for family in text_string_to_metric_families(text.decode()) for s in family.samples if s.name == name]
    return {s.labels["replica"]: s.value for s in found if s.labels.get("model") == "eta"}


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(address: Address, count: int) -> Counter[int]:
    """Ask on so many connections; which processes answered."""
    answered: Counter[int] = Counter()
    for _ in range(count):
        with httpx.Client(base_url=address.url, timeout=20) as client:
            assert client.post("/v1/eta/predict", json=ROW).status_code == 200
            answered[client.get("/v1/status").json()["pid"]] += 1
    return answered


def test_metrics_of_replicas_keep_apart_and_stay_well_formed() -> None:
    texts = {}
    for number in (0, 1):
        metrics = Metrics()
        metrics.model("eta").answered(number + 5)
        metrics.model("eta").stages["run"].observe_ns(30_000)
        texts[number] = metrics.text({"written": number})
    text = merged(texts)
    assert samples(text, "bottega_rows_total") == {"0": 5, "1": 6}
    assert text.count(b"# TYPE bottega_rows_total") + text.count(b"# TYPE bottega_rows ") == 1
    buckets = [line for line in text.decode().splitlines() if line.startswith("bottega_stage_seconds_bucket")]
    assert len(buckets) == len(set(buckets)) > 0


def test_replicas_ask_each_other_and_leave_out_who_does_not_answer(tmp_path: Path) -> None:
    def told(number: int) -> bytes:
        metrics = Metrics()
        metrics.model("eta").answered(number)
        return metrics.text({})

    async def gather() -> bytes:
        first, second = Replica(0, tmp_path), Replica(1, tmp_path)
        (tmp_path / "2").write_bytes(b"")  # what a replica that was killed leaves
        async with first.telling(lambda: told(10)), second.telling(lambda: told(20)):
            return await first.all_metrics(told(10))

    assert samples(asyncio.run(gather()), "bottega_rows_total") == {"0": 10, "1": 20}


def test_a_port_that_another_process_shares_is_not_taken() -> None:
    other = bind("127.0.0.1", 0, shared=True)
    with other, pytest.raises(Unavailable, match="Cannot serve on"), reserved(*other.getsockname()):
        pass
    with reserved("127.0.0.1", 0) as port, bind("127.0.0.1", port, shared=True) as one:
        assert one.getsockname()[1] == port


def test_models_on_demand_are_refused_with_replicas(fresh: Fresh, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="meets one replica"):
        run(fresh(), port=0, repository=tmp_path, control="explicit", replicas=2)


@pytest.mark.slow
def test_each_replica_answers_follows_the_deployments_and_comes_back_when_it_dies(fresh: Fresh) -> None:
    workspace = fresh()
    with running(workspace, options=[*TWO, "--grpc-port", "0"]) as address:
        answered = ask(address, 40)
        assert len(answered) == 2
        assert address.pid not in answered
        counted = samples(httpx.get(f"{address.url}/metrics").content, "bottega_requests_total")
        assert sorted(counted.values()) == sorted(answered.values())

        deployment.deploy(workspace, "eta", 2, "for all")
        until(lambda: _versions(address) == {2})

        victim = next(iter(answered))
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(_pids(address) - {victim}) == 2)
        assert read_server(workspace) == address
        assert _versions(address) == {2}

        with grpc.insecure_channel(f"127.0.0.1:{address.grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(20)
    assert read_server(workspace) is None
    logged = read_predictions(workspace, "eta")
    assert 40 - answered[victim] <= len(logged) <= 40  # what waited for the killed one's writer is lost


@pytest.mark.slow
def test_sigterm_under_load_loses_no_request_and_ends_with_success(fresh: Fresh, tmp_path: Path) -> None:
    workspace, said = fresh(), tmp_path / "said"
    with said.open("wb") as lines:
        options = [*TWO, "--log-format", "json", "--log-level", "info"]
        process = start(workspace, "127.0.0.1", 0, lines, options)
    address = wait_until_ready(process, workspace)
    ids: list[str] = []
    broken: list[httpx.HTTPStatusError] = []

    def load() -> None:
        with httpx.Client(base_url=address.url, timeout=20) as client:
            while True:
                try:
                    response = client.post("/v1/eta/predict", json=ROW)
                    response.raise_for_status()
                except httpx.HTTPStatusError as error:
                    broken.append(error)
                    return
                except httpx.TransportError:
                    return  # the connection was closed between two requests
                ids.append(response.json()["id"])

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    assert stop(process) == 0
    for thread in threads:
        thread.join()
    assert not broken
    assert set(ids) <= set(read_predictions(workspace, "eta")["request_id"])
    writers = {path.stem.split("-")[1] for path in workspace.predictions.glob("eta/*/*.parquet")}
    assert len(writers) == 2
    events = [json.loads(line) for line in said.read_text().splitlines()]
    assert {str(event["pid"]) for event in events if event.get("event") == "started"} == writers


@pytest.mark.slow
def test_replicas_end_with_the_process_that_keeps_them(fresh: Fresh) -> None:
    workspace = fresh()
    process = start(workspace, "127.0.0.1", 0, options=TWO)
    wait_until_ready(process, workspace)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.slow
def test_a_replica_that_cannot_start_ends_them_all_with_a_reason(fresh: Fresh, tmp_path: Path) -> None:
    words = [*TWO, "--port", "0", "--workspace", str(fresh().root), "--repository", str(tmp_path / "none")]
    command = [sys.executable, "-m", "bottega.serving.server", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == Unavailable("").exit_code
    assert "There is no model repository" in done.stderr
    assert "Replica 0 ended with exit code" in done.stderr or "Replica 1 ended with exit code" in done.stderr


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_wrong_number_of_replicas_is_refused(count: str, fresh: Fresh) -> None:
    with pytest.raises(SystemExit):
        main(["--workspace", str(fresh().root), "--replicas", count])


def _pids(address: Address) -> set[int]:
    """The processes that answer now; a connection that met one in the moment of its death does not count."""
    found = set()
    for _ in range(12):
        try:
            found.add(httpx.get(f"{address.url}/v1/status", timeout=20).json()["pid"])
        except httpx.TransportError:
            continue
    return found


def _versions(address: Address) -> set[int]:
    statuses = [httpx.get(f"{address.url}/v1/status", timeout=20).json() for _ in range(12)]
    return {status["usecases"]["eta"]["model_version"] for status in statuses}
