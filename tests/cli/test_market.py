"""`bottega market`: figures as JSON, reasons where it cannot."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bottega.cli import app
from bottega.errors import NotFound

SPAN = ["--from", "2024-01-08", "--until", "2024-01-15"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.delenv("BOTTEGA_DATA", raising=False)
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_days_under_a_policy(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["market", "simulate", "none", "--days", "2", "--drivers", "0.7", *SPAN, "-w", str(workspace), "--json"]
    found = json.loads(run(monkeypatch, *arguments))
    assert found["days"] == 2
    assert found["mean_multiplier"] == pytest.approx(1)
    assert 0 < found["completed"] < found["requests"]


def test_estimates_beside_the_truth(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["market", "explore", "--days", "2", "--elasticity", "0", *SPAN, "-w", str(workspace), "--json"]
    found = {row["target"]: row for row in json.loads(run(monkeypatch, *arguments))}
    assert found["the log itself"]["effective_rows"] == found["the log itself"]["rows"]
    assert found["far steeper"]["effective_rows"] < found["steeper"]["effective_rows"]


def test_an_unknown_policy_is_told_which_there_are(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"none, rule, optimiser"):
        run(monkeypatch, "market", "simulate", "auction", "-w", str(workspace))
