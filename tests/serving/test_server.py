"""The server's life: start, swap, refuse, stop; nothing lost on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import numpy as np
import psutil
import pytest

from bottega.compile.runtime import Artifact
from bottega.errors import InvalidInput, Unavailable
from bottega.files import write_json
from bottega.serving import deployment
from bottega.serving.address import TOKEN_VARIABLE, Address, read_server
from bottega.serving.client import Client
from bottega.serving.load import measure
from bottega.serving.log import read_predictions
from bottega.serving.process import running, start, stop, wait_until_ready
from bottega.serving.server import check_address, main, run
from bottega.workspace import Workspace

ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
ROW_COLUMNS = {
    "pu_zone": np.array([3], np.int32),
    "do_zone": np.array([12], np.int32),
    "at": np.array([1705411800_000000]),
}
Fresh = Callable[[], Workspace]
Load = Callable[[Workspace, int], Artifact]


def await_version(client: Client, version: int, deadline_s: float = 20) -> None:
    until = time.monotonic() + deadline_s
    while client.status().usecases["eta"].model_version != version:
        assert time.monotonic() < until, client.status()
        time.sleep(0.05)


def test_swaps_under_load_lose_nothing_and_each_answer_is_of_one_version(fresh: Fresh, load: Load) -> None:
    workspace = fresh()
    answers_of = {v: float(load(workspace, v).predict(ROW_COLUMNS)["eta_min"][0]) for v in (1, 2)}
    assert answers_of[1] * 5 < answers_of[2]
    seen: list[tuple[int, set[float]]] = []
    failures: list[object] = []
    asking = threading.Event()
    asking.set()

    def ask(url: str, rows: int) -> None:
        with httpx.Client(base_url=url) as http:
            while asking.is_set():
                response = http.post("/v1/eta/predict", json={"rows": [ROW] * rows})
                if response.status_code != 200:
                    failures.append(response.text)
                    continue
                answer = response.json()
                seen.append((answer["model_version"], {row["eta_min"] for row in answer["answers"]}))

    with running(workspace) as address, Client(address.url) as client:
        threads = [threading.Thread(target=ask, args=(address.url, rows)) for rows in (1, 1, 7)]
        for thread in threads:
            thread.start()
        for version in (2, 1, 2, 1):
            deployment.deploy(workspace, "eta", version, "swap")
            await_version(client, version)
            time.sleep(0.1)
        asking.clear()
        for thread in threads:
            thread.join()
    assert not failures
    assert {version for version, _ in seen} == {1, 2}
    for version, answers in seen:
        (answer,) = answers
        assert np.float32(answer) == np.float32(answers_of[version])


def test_a_rollback_gives_the_old_answers_bit_for_bit(fresh: Fresh) -> None:
    workspace = fresh()
    with running(workspace) as address, Client(address.url) as client:
        first = client.infer("eta", ROW_COLUMNS)
        deployment.deploy(workspace, "eta", 2, "try it")
        await_version(client, 2)
        assert client.infer("eta", ROW_COLUMNS)["eta_min"] != first["eta_min"]
        deployment.rollback(workspace, "eta", "no good")
        await_version(client, 1)
        again = client.infer("eta", ROW_COLUMNS)
    assert {n: c.tobytes() for n, c in again.items()} == {n: c.tobytes() for n, c in first.items()}


def test_a_version_that_does_not_load_leaves_the_old_one_live(fresh: Fresh) -> None:
    workspace = fresh()
    victim = next(path for path in (workspace.repository / "eta" / "2").iterdir() if path.name == "tables.npz")
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    with running(workspace) as address, Client(address.url) as client:
        deployment.deploy(workspace, "eta", 2, "damaged")
        until = time.monotonic() + 20
        while not client.status().failures:
            assert time.monotonic() < until
            time.sleep(0.05)
        status = client.status()
        assert status.failures["eta"].startswith("version 2: ")
        assert "tables.npz" in status.failures["eta"]
        assert status.ready
        assert client.predict("eta", [ROW]).model_version == 1
        deployment.rollback(workspace, "eta", "damaged")
        while client.status().failures:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_server_whose_only_version_does_not_load_says_why(fresh: Fresh) -> None:
    workspace = fresh()
    (workspace.repository / "eta" / "1" / "tables.npz").write_bytes(b"")
    with pytest.raises(Unavailable, match=r"tables\.npz"), running(workspace):
        pass


def test_a_server_of_an_empty_workspace_waits_for_its_first_deployment(fresh: Fresh) -> None:
    workspace = fresh()
    workspace.deployments.unlink()
    with running(workspace) as address, Client(address.url) as client:
        assert client.status().usecases == {}
        deployment.deploy(workspace, "eta", 1, "at last")
        until = time.monotonic() + 20
        while "eta" not in client.status().usecases:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.predict("eta", [ROW]).model_version == 1


def test_a_question_that_will_get_no_label_stays_out_of_the_log(fresh: Fresh) -> None:
    workspace = fresh()
    with running(workspace), Client.from_workspace(workspace) as client:
        asked = client.predict("eta", [ROW], ids=["what-if"], logged=False)
        assert client.predict("eta", [ROW], ids=["real"]).answers == asked.answers
        client.wait_for_log()
    assert read_predictions(workspace, "eta")["request_id"].tolist() == ["real"]


def test_sigterm_ends_well_and_the_log_has_every_row(fresh: Fresh) -> None:
    workspace = fresh()
    process = start(workspace, "127.0.0.1", 0)
    address = wait_until_ready(process, workspace)
    with Client(address.url) as client:
        ids = [f"row-{i}" for i in range(50)]
        for i in range(0, 50, 5):
            client.predict("eta", [ROW] * 5, ids[i : i + 5])
        assert stop(process) == 0
    frame = read_predictions(workspace, "eta")
    assert sorted(frame["request_id"]) == sorted(ids)
    assert set(frame["model_version"]) == {1}
    assert (frame["latency_us"] > 0).all()
    assert not workspace.server.exists()
    assert read_server(workspace) is None


def test_sigterm_lets_a_begun_request_finish(fresh: Fresh) -> None:
    workspace = fresh()
    process = start(workspace, "127.0.0.1", 0)
    address = wait_until_ready(process, workspace)
    body = json.dumps(ROW).encode()
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        head = b"POST /v1/eta/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body[:10])
        time.sleep(0.2)  # the server has begun the request
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[10:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert process.wait(20) == 0
    assert len(read_predictions(workspace, "eta")) == 1


def test_the_load_generator_counts_what_the_server_counts(fresh: Fresh) -> None:
    workspace = fresh()
    with running(workspace) as address, Client(address.url) as client:
        load = measure(address.url, "/v1/eta/predict", [json.dumps(ROW).encode()], connections=4, seconds=1, warm_s=0)
        status = client.status().usecases["eta"]
        wrong = measure(address.url, "/v1/eta/predict", [b"{}"], connections=2, seconds=0.3, warm_s=0)
    assert load.errors == 0
    assert 0 < load.requests == status.requests
    assert 0 < load.p50_ms <= load.p99_ms
    assert wrong.errors == wrong.requests > 0
    with pytest.raises(Unavailable, match="load generator failed"):
        measure(address.url, "/v1/eta/predict", [b"{}"], seconds=0.1)


def test_a_file_left_by_a_dead_server_counts_as_none(fresh: Fresh) -> None:
    workspace = fresh()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_json(workspace.server, Address(ended.pid, "127.0.0.1", 1, datetime.now(UTC)))
    assert read_server(workspace) is None
    with pytest.raises(Unavailable, match=r"No server runs for workspace .*bottega serve"):
        Client.from_workspace(workspace)
    # its number may belong to another process by now: that one does not listen there
    write_json(workspace.server, Address(os.getpid(), "127.0.0.1", 1, datetime.now(UTC)))
    assert read_server(workspace) is None
    with running(workspace) as address:
        assert read_server(workspace) == address


def test_a_half_written_file_counts_as_none(fresh: Fresh) -> None:
    workspace = fresh()
    workspace.server.write_bytes(b'{"pid": 1')
    assert read_server(workspace) is None


def test_a_second_server_of_the_same_workspace_is_refused(fresh: Fresh) -> None:
    workspace = fresh()
    with running(workspace) as address:
        with pytest.raises(Unavailable, match="A server already runs for workspace"), running(workspace):
            pass
        assert read_server(workspace) == address


def test_a_port_in_use_is_named_with_the_next_step(fresh: Fresh, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = fresh()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port}: .* Choose another port with --port"):
            run(workspace, port=port)
        assert main(["--workspace", str(workspace.root), "--port", str(port)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(Unavailable, match="port 99999"):
        run(workspace, port=99999)


def test_other_machines_need_a_token(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(InvalidInput, match=f"Set {TOKEN_VARIABLE}"):
            check_address(host, "")
        check_address(host, "secret")
    for host in ("127.0.0.1", "::1", "localhost"):
        check_address(host, "")
    monkeypatch.setenv(TOKEN_VARIABLE, "sesame")
    workspace = fresh()
    with running(workspace, host="0.0.0.0") as address:
        assert httpx.get(address.url + "/v2/health/ready").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sesame"}):
            response = httpx.post(address.url + "/v1/eta/predict", json=ROW, headers=headers)
            assert (response.status_code, list(response.json())) == (401, ["error"])
        with Client.from_workspace(workspace) as client:
            assert client.predict("eta", [ROW]).model_version == 1


def test_the_server_stays_small(fresh: Fresh) -> None:
    """Resident memory after predictions, metrics and segments of the log: all that brings libraries in."""
    workspace = fresh()
    with running(workspace) as address, Client(address.url) as client:
        for _ in range(50):
            client.predict("eta", [ROW] * 20)
        client.wait_for_log()
        httpx.get(address.url + "/metrics").raise_for_status()
        httpx.get(address.url + "/openapi.json").raise_for_status()
        assert psutil.Process(address.pid).memory_info().rss < 120e6


def test_the_server_process_loads_no_training_library(fresh: Fresh) -> None:
    """Starts the real server in a process that says which modules it holds when it has served and stopped."""
    workspace = fresh()
    program = (
        "import sys; from bottega.serving.server import main; code = main(sys.argv[1:]);"
        "print(*sorted({name.split('.')[0] for name, module in sys.modules.items() if module})); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "--workspace", str(workspace.root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    address = wait_until_ready(process, workspace)
    with Client(address.url) as client:
        client.predict("eta", [ROW] * 3)
        client.wait_for_log()
        httpx.get(address.url + "/metrics").raise_for_status()
    assert stop(process) == 0
    assert process.stdout is not None
    loaded = set(process.stdout.read().decode().split())
    process.stdout.close()
    assert {"uvicorn", "numpy", "pyarrow"} <= loaded
    heavy = {"torch", "xgboost", "sklearn", "mlflow", "evidently", "tvm", "pandas", "duckdb", "scipy", "httpx"}
    assert not loaded & heavy
    assert not loaded & {"usecases", "streamlit", "typer"}
