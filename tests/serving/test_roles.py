"""Roles in a real server process: shares over HTTP, versions by path, swaps under load, a killed server."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from bottega.features.steps import Columns
from bottega.pipeline.release import deploy_version, wait_until_live
from bottega.registry import Registry
from bottega.serving import deployment
from bottega.serving.client import Client
from bottega.serving.log import read_predictions
from bottega.serving.process import running, start, stop, wait_until_ready
from bottega.times import from_epoch_us
from bottega.workspace import Workspace

Rows = Callable[[int], Columns]


def as_json(rows: Columns, i: int) -> dict[str, object]:
    at = from_epoch_us(int(rows["at"][i])).isoformat()
    return {"pu_zone": int(rows["pu_zone"][i]), "do_zone": int(rows["do_zone"][i]), "at": at}


def ask(url: str, rows: Columns) -> list[tuple[int, float]]:
    """Version and answer of each row, asked one after the other; the request is `r-<i>`."""
    found = []
    with httpx.Client(base_url=url) as http:
        for i in range(len(rows["at"])):
            answer = http.post("/v1/eta/predict", json={**as_json(rows, i), "id": f"r-{i}"})
            assert answer.status_code == 200, answer.text
            found.append((answer.json()["model_version"], answer.json()["answer"]["eta_min"]))
    return found


def test_a_faulty_canary_is_taken_back_and_no_client_notices(more: Workspace, some_rows: Rows) -> None:
    """Version 3 does not know three zones, which a fifth of the requests have."""
    rows = some_rows(400)
    with running(more) as address, Client(address.url) as client:
        expected = client.infer("eta", rows)["eta_min"]
        deployment.try_canary(more, "eta", 3, 1.0, "try it")
        wait_until_live(more, "eta", 3, "canary")
        found = ask(address.url, rows)
        assert [version for version, _ in found].count(3) < 100
        assert {version for version, _ in found[100:]} == {1}
        for (version, answer), champion in zip(found, expected, strict=True):
            assert version == 3 or np.float32(answer) == champion
        deadline = time.monotonic() + 20
        while deployment.read(more).live["eta"].canary is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.wait_for_log()
    change = deployment.read(more).history[-1]
    assert (change.action, change.role, change.before) == ("rollback", "canary", 3)
    assert change.evidence["guardrail"] == "errors"
    assert "is unknown" in change.evidence["last_error"]
    logged = read_predictions(more, "eta").set_index("request_id")
    for i, (version, _) in enumerate(found):
        row = logged.loc[f"r-{i}"]
        assert (row["model_version"], row["role"]) == (version, "canary" if version == 3 else "champion")


def test_roles_are_seen_from_outside(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(20)
    with running(more) as address, Client(address.url) as client:
        deployment.try_canary(more, "eta", 5, 0.5, "try it")
        deployment.try_shadow(more, "eta", 4, "look at it")
        wait_until_live(more, "eta", 5, "canary")
        wait_until_live(more, "eta", 4, "shadow")
        found = ask(address.url, rows)
        roles = client.status().usecases["eta"].roles
        assert [(role.role, role.version, role.share) for role in roles] == [
            ("champion", 1, 0.5),
            ("canary", 5, 0.5),
            ("shadow", 4, 0.0),
        ]
        answered = [version for version, _ in found]
        assert roles[0].counts["answered"] == answered.count(1)
        assert roles[1].counts["answered"] == answered.count(5)
        deadline = time.monotonic() + 20
        while client.status().usecases["eta"].roles[2].counts["compared"] < answered.count(1):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        text = httpx.get(address.url + "/metrics").text
        assert 'bottega_role{model="eta",role="canary",version="5",what="share"} 0.5' in text
        counted = f'bottega_role{{model="eta",role="canary",version="5",what="answered"}} {answered.count(5)}.0'
        assert counted in text
        client.wait_for_log()
        ids = [f"r-{i}" for i, version in enumerate(answered) if version == 1]
        assert read_predictions(more, "eta", shadow=True)["request_id"].tolist() == ids


def test_a_loaded_version_answers_by_its_path(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(5)
    with running(more) as address, Client(address.url) as client:
        first = client.infer("eta", rows)
        deployment.try_canary(more, "eta", 2, 0.01, "try it")
        deployment.try_shadow(more, "eta", 4, "look at it")
        wait_until_live(more, "eta", 2, "canary")
        wait_until_live(more, "eta", 4, "shadow")
        for version in (1, 2, 4):
            answer = client.infer(f"eta/versions/{version}", rows)
            assert (answer["eta_min"].tobytes() == first["eta_min"].tobytes()) == (version == 1)
        assert httpx.get(f"{address.url}/v2/models/eta").json()["versions"] == ["1", "2", "4"]
        missing = httpx.get(f"{address.url}/v2/models/eta/versions/5")
        assert missing.status_code == 404
        assert missing.json()["error"].endswith("Versions 1, 2, 4 are.")
        client.wait_for_log()
    logged = read_predictions(more, "eta")
    assert {(version, role) for version, role in zip(logged["model_version"], logged["role"], strict=True)} == {
        (1, "champion"),
        (2, "direct"),
        (4, "direct"),
    }


def test_a_killed_server_comes_back_with_the_same_versions(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(40)
    deployment.try_canary(more, "eta", 5, 0.5, "try it")
    deployment.try_shadow(more, "eta", 4, "look at it")
    process = start(more, "127.0.0.1", 0)
    try:
        before = ask(wait_until_ready(process, more).url, rows)
        deadline = time.monotonic() + 20
        while not more.trials.exists():  # the server has written down what it saw of the canary
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    finally:
        stop(process)
    with running(more) as address, Client(address.url) as client:
        roles = client.status().usecases["eta"].roles
        assert [(role.role, role.version) for role in roles] == [("champion", 1), ("canary", 5), ("shadow", 4)]
        assert next(role for role in roles if role.role == "canary").comparison["requests"] > 0
        assert ask(address.url, rows) == before
    assert {version for version, _ in before} == {1, 5}


@pytest.mark.slow
def test_thirty_swaps_under_load_lose_nothing_and_each_answer_is_of_one_version(
    more: Workspace, some_rows: Rows
) -> None:
    rows, count = some_rows(8), 8
    body = {"rows": [as_json(rows, i) for i in range(count)]}
    seen: list[tuple[int, tuple[float, ...]]] = []
    failures: list[str] = []
    asking = threading.Event()
    asking.set()

    def keep_asking(url: str) -> None:
        with httpx.Client(base_url=url) as http:
            while asking.is_set():
                response = http.post("/v1/eta/predict", json=body)
                if response.status_code != 200:
                    failures.append(response.text)
                    continue
                answer = response.json()
                seen.append((answer["model_version"], tuple(row["eta_min"] for row in answer["answers"])))

    with running(more) as address, Client(address.url) as client:
        threads = [threading.Thread(target=keep_asking, args=(address.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for swap in range(30):
            version = (2, 4, 1)[swap % 3]
            deployment.deploy(more, "eta", version, f"swap {swap}")
            wait_until_live(more, "eta", version)
        asking.clear()
        for thread in threads:
            thread.join()
        assert client.status().usecases["eta"].errors == 0
    assert not failures
    answers: dict[int, set[tuple[float, ...]]] = {}
    for version, answer in seen:
        answers.setdefault(version, set()).add(answer)
    assert answers.keys() == {1, 2, 4}
    assert all(len(found) == 1 for found in answers.values())
    assert len(set.union(*answers.values())) == 3


@pytest.mark.slow
def test_a_registered_version_goes_on_trial_and_a_running_server_is_waited_for(
    more: Workspace, make_package: Callable[[Path], None], tmp_path: Path
) -> None:
    registry = Registry(more)
    make_package(tmp_path / "package")
    for _ in range(2):
        with registry.start_run("eta", "trees") as run:
            registry.register("eta", tmp_path / "package", run)
    with running(more), Client.from_workspace(more) as client:
        change = deploy_version(more, "eta@2", "try it", "canary", 0.25, deployment.Limits(p99_ms=500.0))
        assert (change.version, change.share) == (2, 0.25)
        canary = client.status().usecases["eta"].role("canary")
        assert canary is not None
        assert (canary.version, canary.share) == (2, 0.25)
        assert deploy_version(more, "eta/2", "look at it", "shadow").role == "shadow"
        assert client.status().usecases["eta"].role("shadow") is not None
