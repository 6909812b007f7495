"""The page about serving, as written: its commands do what it says."""

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from bottega.registry import Registry
from bottega.serving import deployment
from bottega.serving.process import STOP_S, stop, wait_until_ready
from bottega.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs" / "SERVING.md"
BLOCKS = [
    re.sub("^    ", "", block, flags=re.M).strip("\n")
    for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", PAGE.read_text("utf-8"), re.M)
]
ZONES = {"74": "3", "166": "12"}
"""Zones of New York, and those of the city of these tests."""

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)


def block(begin: str) -> str:
    """The one block of the page that begins so."""
    (found,) = (text for text in BLOCKS if text.startswith(begin))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str, Workspace], str]:
    """Runs lines of the page in a shell, in an empty folder; what they wrote on standard output."""

    def run(lines: str, workspace: Workspace) -> str:
        done = subprocess.run(
            ["bash", "-ec", lines],
            cwd=tmp_path,
            env=environment(workspace),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def environment(workspace: Workspace) -> dict[str, str]:
    """One in which `bottega` is ours."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "BOTTEGA_WORKSPACE": str(workspace.root)}


@contextlib.contextmanager
def serving(command: str, folder: Path, workspace: Workspace) -> Iterator[None]:
    """Run a `bottega serve` of the page in a folder."""
    process = subprocess.Popen(command.split(), cwd=folder, env=environment(workspace))
    try:
        wait_until_ready(process, workspace)
        yield
    finally:
        assert stop(process, STOP_S) == 0


@pytest.mark.slow
def test_a_repository_and_a_use_case_are_asked(
    fresh: Callable[[], Workspace], run: Callable[[str, Workspace], str], tmp_path: Path
) -> None:
    import xgboost

    workspace, ports = fresh(), {"8080": str(free_port()), "8081": str(free_port())}
    features = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    data = xgboost.DMatrix(features, features.sum(1))
    xgboost.train({"max_depth": 3, "nthread": 1}, data, 5).save_model(tmp_path / "model.ubj")
    models.put(tmp_path / "models", "add_sub", models.add_sub(), config=block('name: "add_sub"'))
    run(block("bottega compile model.ubj"), workspace)

    def ported(text: str) -> str:
        for old, new in {**ports, **ZONES}.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text.replace("curl ", "curl -sS --fail-with-body ")

    command = ported(block("bottega serve --repository"))
    with serving(f"{command} --model-control explicit", tmp_path, workspace):
        *changes, index = run(ported(block("curl -X POST")), workspace).split("}", 2)
        assert changes == ["{", "{"]
        states = {entry["name"]: entry["state"] for entry in json.loads(index)}
        assert (states["add_sub"], states["eta"]) == ("UNAVAILABLE", "READY")
        run(ported(block("curl -X POST")).splitlines()[0], workspace)
        sums = json.loads(run(ported(block("curl localhost:8080/v2/models/add_sub/infer")), workspace))
        assert (sums["id"], sums["outputs"][0]["data"]) == ("first", list(range(2, 18)))
        answer = json.loads(run(ported(block("curl localhost:8080/v1/eta/predict")), workspace))
        shown = yaml.safe_load(block('{"usecase": "eta"').replace(", ...", ""))
        assert list(answer) == list(shown)
    with serving(f"{command} --model-control none", tmp_path, workspace):
        said = run(f"curl -sS localhost:{ports['8080']}/v2/models/regressor", workspace)
        assert json.loads(said)["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 20]}]


@pytest.mark.slow
def test_versions_are_deployed(
    more: Workspace, make_package: Callable[[Path], None], run: Callable[[str, Workspace], str], tmp_path: Path
) -> None:
    registry = Registry(more)
    make_package(tmp_path / "package")
    for _ in range(5):
        with registry.start_run("eta", "trees") as started:
            registry.register("eta", tmp_path / "package", started)
    lines = block("bottega deploy eta@2").splitlines()
    run("\n".join(lines[:3]), more)
    live = deployment.read(more).live["eta"]
    assert (live.champion, live.version("canary"), live.shadow) == (2, 5, 4)
    assert live.canary is not None and live.canary.share == 0.1
    assert "canary" in run(lines[3], more)
    run(lines[4], more)
    assert deployment.read(more).live["eta"].champion == 5
    run(lines[5], more)
    assert deployment.read(more).live["eta"].champion == 2


@pytest.mark.slow
def test_logs_are_as_the_page_shows(fresh: Callable[[], Workspace], tmp_path: Path) -> None:
    workspace, port = fresh(), free_port()
    command = f"{block('bottega serve --log-format')} --http-port {port}"
    shown = yaml.safe_load(block('{"time"').replace(", ...", ""))
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command.split(), env=environment(workspace), stderr=said)
        try:
            wait_until_ready(process, workspace)
            ids = ["-H", f"x-request-id: {shown['request_id']}"]
            ids += ["-H", f"traceparent: 00-{shown['trace_id']}-b7ad6b7169203331-01"]
            row = '{"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}'
            url = f"localhost:{port}/v1/eta/predict"
            subprocess.run(["curl", "-sS", *ids, url, "-d", row], check=True, capture_output=True)
            time.sleep(0.1)
        finally:
            stop(process)
    lines = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    (line,) = (line for line in lines if line.get("request_id"))
    assert shown.keys() <= line.keys()
    same = ("logger", "message", "event", "method", "path", "status", "trace_id")
    assert [line[name] for name in same] == [shown[name] for name in same]
