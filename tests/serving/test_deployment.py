"""Deployments: one truth, atomic, with its history."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bottega.errors import Conflict, InvalidInput, NotFound, StorageError
from bottega.serving import deployment
from bottega.workspace import Workspace

AT = datetime(2024, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with three artefact folders of `eta`; a deployment looks at their names only."""
    workspace = Workspace.open(tmp_path / "w")
    for version in ("1", "2", "10"):
        (workspace.repository / "eta" / version).mkdir(parents=True)
        (workspace.repository / "eta" / version / "manifest.json").write_text("{}")
    (workspace.repository / "eta" / "3").mkdir()  # no manifest: half written
    return workspace


def test_nothing_is_live_at_first(workspace: Workspace) -> None:
    assert deployment.read(workspace) == deployment.Deployments()
    assert deployment.versions(workspace, "eta") == (1, 2, 10)


def test_deploy_and_roll_back(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first", at=AT)
    deployment.deploy(workspace, "eta", 2, "better", evidence={"mae_min": 3.4}, at=AT)
    deployment.deploy(workspace, "eta", 10, "better still", at=AT)
    change = deployment.rollback(workspace, "eta", "worse after all", at=AT)
    assert (change.version, change.before) == (2, 10)
    state = deployment.read(workspace)
    assert state.live["eta"] == deployment.Live(2, (1,))
    assert [(c.action, c.version, c.before, c.reason) for c in state.history] == [
        ("deploy", 1, None, "first"),
        ("deploy", 2, 1, "better"),
        ("deploy", 10, 2, "better still"),
        ("rollback", 2, 10, "worse after all"),
    ]
    assert state.history[1].evidence == {"mae_min": 3.4}
    assert deployment.rollback(workspace, "eta", "again").version == 1
    with pytest.raises(Conflict, match="no champion before version 1"):
        deployment.rollback(workspace, "eta", "and again")


def test_deploying_the_champion_again_keeps_the_way_back(workspace: Workspace) -> None:
    for version in (1, 2, 2):
        deployment.deploy(workspace, "eta", version, "why not")
    assert deployment.read(workspace).live["eta"] == deployment.Live(2, (1,))


def test_what_has_no_artefact_cannot_go_live(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"no compiled version 3\. Artefacts exist of versions 1, 2, 10"):
        deployment.deploy(workspace, "eta", 3, "half written")
    with pytest.raises(NotFound, match="no artefact"):
        deployment.deploy(workspace, "pricing", 1, "unknown")
    with pytest.raises(InvalidInput, match="is not the name"):
        deployment.deploy(workspace, "../eta", 1, "outside")
    with pytest.raises(InvalidInput, match="needs a reason"):
        deployment.deploy(workspace, "eta", 1, " ")
    with pytest.raises(NotFound, match="not deployed"):
        deployment.rollback(workspace, "eta", "nothing there")
    assert not workspace.deployments.exists()


def test_a_version_that_was_removed_is_not_rolled_back_to(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first")
    deployment.deploy(workspace, "eta", 2, "second")
    (workspace.repository / "eta" / "1" / "manifest.json").unlink()
    with pytest.raises(Conflict, match="no artefact any more"):
        deployment.rollback(workspace, "eta", "gone")


def test_changes_at_the_same_time_all_happen(workspace: Workspace) -> None:
    threads = [
        threading.Thread(target=deployment.deploy, args=(workspace, "eta", 1 + i % 2, f"number {i}")) for i in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = deployment.read(workspace).history
    assert {change.reason for change in history} == {f"number {i}" for i in range(16)}
    assert [change.before for change in history[1:]] == [change.version for change in history[:-1]]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"live": 1}', b"\xff"])
def test_a_damaged_file_is_said_so(workspace: Workspace, content: bytes) -> None:
    workspace.deployments.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        deployment.read(workspace)


def test_a_file_of_a_newer_version_is_refused(workspace: Workspace) -> None:
    workspace.deployments.write_bytes(b'{"format": 99}')
    with pytest.raises(StorageError, match="format 99"):
        deployment.read(workspace)


def test_a_canary_is_promoted_or_taken_back(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first", at=AT)
    change = deployment.try_canary(workspace, "eta", 2, 0.1, "newer", evidence={"mae_min": 3.4}, at=AT)
    assert (change.role, change.version, change.before, change.share) == ("canary", 2, None, 0.1)
    assert deployment.read(workspace).live["eta"] == deployment.Live(1, (), deployment.Canary(2, 0.1, since=AT))
    deployment.try_canary(workspace, "eta", 2, 0.5, "going well", at=AT)
    assert deployment.promote(workspace, "eta", "went well", at=AT).before == 1
    assert deployment.read(workspace).live["eta"] == deployment.Live(2, (1,))
    deployment.try_canary(workspace, "eta", 10, 0.1, "newest", at=AT)
    back = deployment.rollback(workspace, "eta", "it fails", evidence={"failed": 7}, at=AT)
    assert (back.role, back.version, back.before, back.evidence) == ("canary", 2, 10, {"failed": 7})
    assert deployment.read(workspace).live["eta"] == deployment.Live(2, (1,))
    assert deployment.rollback(workspace, "eta", "the champion too").role == "champion"


def test_a_trial_goes_on_under_another_share_and_begins_anew_under_other_limits(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first", at=AT)
    strict = deployment.Limits(excess_errors=0.001, p99_ms=20.0, shift=0.1)
    later = AT + timedelta(hours=1)
    deployment.try_canary(workspace, "eta", 2, 0.1, "try it", limits=strict, at=AT)
    deployment.try_canary(workspace, "eta", 2, 0.5, "going well", limits=strict, at=later)
    assert deployment.read(workspace).live["eta"].canary == deployment.Canary(2, 0.5, strict, AT)
    deployment.try_canary(workspace, "eta", 2, 0.5, "not so strict", at=later)
    assert deployment.read(workspace).live["eta"].canary == deployment.Canary(2, 0.5, deployment.LIMITS, later)
    deployment.rollback(workspace, "eta", "look again", at=later)
    deployment.try_canary(workspace, "eta", 2, 0.5, "again", at=later + timedelta(hours=1))
    assert deployment.read(workspace).live["eta"].canary.since == later + timedelta(hours=1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"excess_errors": -0.1}, "limit of errors is -0.1"),
        ({"excess_errors": 1.0}, "limit of errors is 1"),
        ({"p99_ms": 0.0}, "99th percentile is 0 ms"),
        ({"p99_ms": float("nan")}, "99th percentile is nan ms"),
        ({"shift": 0.0}, "limit of the shift is 0"),
        ({"shift": 4.0}, "limit of the shift is 4"),
    ],
)
def test_limits_that_no_canary_can_be_held_to_are_refused(
    workspace: Workspace, limits: dict[str, float], reason: str
) -> None:
    deployment.deploy(workspace, "eta", 1, "first")
    with pytest.raises(InvalidInput, match=reason):
        deployment.try_canary(workspace, "eta", 2, 0.1, "try it", limits=deployment.Limits(**limits))
    assert deployment.read(workspace).live["eta"].canary is None


def test_a_shadow_stands_beside_a_canary(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first")
    deployment.try_shadow(workspace, "eta", 2, "look at it")
    deployment.try_canary(workspace, "eta", 10, 1.0, "try it", at=AT)
    assert deployment.read(workspace).live["eta"] == deployment.Live(1, (), deployment.Canary(10, 1.0, since=AT), 2)
    assert deployment.promote(workspace, "eta", "better", "shadow").version == 2
    assert deployment.read(workspace).live["eta"] == deployment.Live(2, (1,))
    deployment.try_shadow(workspace, "eta", 1, "the old one, to compare")
    assert deployment.rollback(workspace, "eta", "seen enough", "shadow").before == 1
    assert deployment.read(workspace).live["eta"] == deployment.Live(2, (1,))


def test_another_champion_ends_the_canary_and_says_so(workspace: Workspace) -> None:
    deployment.deploy(workspace, "eta", 1, "first")
    deployment.try_canary(workspace, "eta", 2, 0.1, "try it")
    deployment.deploy(workspace, "eta", 10, "urgent")
    state = deployment.read(workspace)
    assert state.live["eta"] == deployment.Live(10, (1,))
    ended = state.history[-1]
    assert (ended.action, ended.role, ended.version, ended.before) == ("rollback", "canary", 10, 2)
    assert ended.reason == "version 10 became the champion"


def test_roles_that_make_no_sense_are_refused(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="not deployed"):
        deployment.try_canary(workspace, "eta", 2, 0.1, "too early")
    deployment.deploy(workspace, "eta", 1, "first")
    for share in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(InvalidInput, match="share is"):
            deployment.try_canary(workspace, "eta", 2, share, "try it")
    with pytest.raises(Conflict, match="cannot be its own canary"):
        deployment.try_canary(workspace, "eta", 1, 0.1, "try it")
    with pytest.raises(NotFound, match="no compiled version 3"):
        deployment.try_shadow(workspace, "eta", 3, "half written")
    with pytest.raises(Conflict, match="no canary to promote"):
        deployment.promote(workspace, "eta", "why not")
    deployment.try_canary(workspace, "eta", 2, 0.1, "try it")
    with pytest.raises(Conflict, match="is version 2, so there is nothing"):
        deployment.rollback(workspace, "eta", "late", "canary", version=10)
    assert len(deployment.read(workspace).history) == 2


def test_a_file_of_format_1_reads_as_before(workspace: Workspace) -> None:
    workspace.deployments.write_text(
        '{"live": {"eta": {"champion": 2, "previous": [1], "challenger": null, "shadow": null}}, "history": [{"at":'
        '"2024-01-02T03:00:00Z", "action": "deploy", "usecase": "eta", "version": 2, "before": 1, "reason": "better",'
        '"evidence": {}}], "format": 1}'
    )
    state = deployment.read(workspace)
    assert state.live["eta"] == deployment.Live(2, (1,))
    assert (state.history[0].role, state.history[0].share) == ("champion", None)
    deployment.try_canary(workspace, "eta", 10, 0.1, "the next")
    again = deployment.read(workspace)
    assert (again.format, len(again.history)) == (2, 2)
