"""Every use case through the whole platform, by the command line: train, compile, deploy, serve, predict, evaluate."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bottega.datasets.simulator import SIMULATOR_START
from bottega.serving.client import Client
from bottega.serving.process import running
from bottega.times import CITY_TIMEZONE
from bottega.workspace import Workspace
from usecases import discover, find

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = sorted(discover())


def bottega(workspace: Path, *arguments: str, code: int = 0) -> dict:
    kept = {name: value for name, value in os.environ.items() if name != "BOTTEGA_DATA"}
    command = [sys.executable, "-m", "bottega.cli", "-w", str(workspace), *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
    assert ran.returncode == code, ran.stderr[-2000:] or ran.stdout[-2000:]
    return json.loads(ran.stdout) if ran.stdout.strip() else {"error": ran.stderr}


def local(moment) -> str:  # type: ignore[no-untyped-def]
    from zoneinfo import ZoneInfo

    return f"{moment.astimezone(ZoneInfo(CITY_TIMEZONE)):%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize("name", NAMES)
def test_from_data_to_an_answer(name, tmp_path):
    usecase, folder = find(name), tmp_path / "w"
    until = SIMULATOR_START + usecase.trial
    span = ("--from", local(SIMULATOR_START), "--until", local(until))
    trained = bottega(folder, "train", name, *span, "--quick", "--threads", "1")
    assert (trained["usecase"], trained["model_version"]) == (name, 1)
    bottega(folder, "compile", f"{name}@champion", "--buckets", "1,16")
    bottega(folder, "deploy", f"{name}@champion")
    workspace = Workspace.open(folder)
    with running(workspace), Client.from_workspace(workspace) as client:
        about = client.describe(name)
        found = client.predict(name, [about["example"]] * 3)
        assert found.model_version == 1
        assert all(answer.keys() == {field.name for field in usecase.answer} for answer in found.answers)
        assert found.answers[0] == found.answers[2]
    later = ("--from", local(until), "--until", local(until + timedelta(days=1)))
    scored = bottega(folder, "evaluate", name, *later)
    assert set(scored) >= {"usecase", "model_version", "data_source", "rows", "rows_rejected", "metrics"}
    assert scored["rows"] > 0
    assert all(isinstance(value, float | int) for value in scored["metrics"].values())
    assert "Traceback" not in bottega(folder, "evaluate", name, "--data", str(tmp_path / "nowhere"), code=2)["error"]
