"""`bottega deploy`: roles on the command line, for people and for machines."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bottega.cli import main
from bottega.serving import deployment
from bottega.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with three artefact folders of `eta`, version 1 live."""
    workspace = Workspace.open(tmp_path / "w")
    for version in ("1", "2", "3"):
        (workspace.repository / "eta" / version).mkdir(parents=True)
        (workspace.repository / "eta" / version / "manifest.json").write_text("{}")
    deployment.deploy(workspace, "eta", 1, "first")
    return workspace


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `bottega deploy ...` in the workspace: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bottega", "deploy", *arguments, "--workspace", str(workspace.root)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_status_shows_roles_and_shares(workspace: Workspace, run: Run) -> None:
    deployment.try_canary(workspace, "eta", 2, 0.125, "try it")
    deployment.try_shadow(workspace, "eta", 3, "look at it")
    code, out, _ = run("status")
    assert code == 0
    for text in ("champion", "87.5 %", "canary", "12.5 %", "shadow", "0 %", "try it", "look at it", "none runs"):
        assert text in out
    found = json.loads(run("status", "--json")[1])
    canary = found["live"]["eta"]["canary"]
    assert (canary["version"], canary["share"], canary["limits"]["excess_errors"]) == (2, 0.125, 0.005)
    assert found["live"]["eta"]["shadow"] == 3
    assert [change["role"] for change in found["history"]] == ["champion", "canary", "shadow"]


def test_promote_and_roll_back(workspace: Workspace, run: Run) -> None:
    deployment.try_canary(workspace, "eta", 2, 0.1, "try it")
    code, out, _ = run("promote", "eta", "--reason", "went well")
    assert (code, out.strip()) == (0, "eta version 2 is the champion (before: 1).")
    deployment.try_canary(workspace, "eta", 3, 0.1, "try it")
    assert "version 3 is no canary any more; version 2 is live" in run("rollback", "eta")[1]
    change = json.loads(run("rollback", "eta", "--role", "champion", "--json")[1])
    assert (change["action"], change["role"], change["version"], change["before"]) == ("rollback", "champion", 1, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["promote", "eta"], 1, "no canary to promote"),
        (["promote", "eta", "--role", "king"], 2, "Roles are champion, canary, shadow"),
        (["rollback", "eta"], 1, "no champion before version 1"),
        (["rollback", "eta", "--role", "shadow"], 1, "The shadow of eta is none"),
        (["rollback", "pricing"], 2, "pricing is not deployed"),
        (["eta@2", "--canary", "0%"], 2, "over 0 and up to 100 percent"),
        (["eta@2", "--canary", "120%"], 2, "over 0 and up to 100 percent"),
        (["eta@2", "--canary", "some"], 2, "over 0 and up to 100 percent"),
        (["eta@2", "--canary", "10%", "--shadow"], 2, "cannot be canary and shadow at once"),
        (["eta@2", "--canary", "10%"], 2, "has no version yet"),
        (["eta@2", "--max-shift", "0.5"], 2, "Limits are a canary's"),
        (["eta@2", "--canary", "10%", "--max-error-rate", "100%"], 2, "from 0 to below 100 percent"),
        (["eta@2", "--canary", "10%", "--max-error-rate", "few"], 2, "from 0 to below 100 percent"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, arguments: list[str], code: int, reason: str) -> None:
    found, _, error = run(*arguments)
    assert (found, len(error.strip().splitlines())) == (code, 1), error
    assert reason in error
