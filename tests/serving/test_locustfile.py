"""The Locust file drives the ETA endpoint, as its own command line does."""

import subprocess
import sys
from pathlib import Path

import pytest

from bottega.serving.client import Client
from bottega.workspace import Workspace

LOCUSTFILE = Path(__file__).parents[2] / "benchmarks" / "locustfile.py"


@pytest.mark.slow
def test_locust_asks_for_etas_and_nothing_fails(served: tuple[Workspace, str]) -> None:
    workspace, url = served
    with Client.from_workspace(workspace) as client:
        before = client.status().usecases["eta"]
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless"]
        done = subprocess.run([*command, "-u", "5", "-r", "5", "-t", "3s"], capture_output=True, text=True)
        after = client.status().usecases["eta"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert after.requests > before.requests
    assert after.errors == before.errors
