"""Deployment: the one truth of what is live, with the history of how it became so.

One JSON file, replaced atomically. The server follows the file; whoever deploys only writes it.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from bottega.errors import Conflict, InvalidInput, NotFound, StorageError
from bottega.files import disk_errors, write_json
from bottega.serving.protocol import check_name
from bottega.workspace import Workspace

FORMAT = 1


class Live(msgspec.Struct, frozen=True):
    """What answers for one use case; `previous` are the champions before this one, newest last."""

    champion: int
    previous: tuple[int, ...] = ()
    challenger: int | None = None
    shadow: int | None = None


class Change(msgspec.Struct, frozen=True):
    """One decision: when (UTC), what, why, and the figures behind it."""

    at: datetime
    action: Literal["deploy", "rollback"]
    usecase: str
    version: int
    before: int | None
    reason: str
    evidence: dict[str, Any] = {}


class Deployments(msgspec.Struct, frozen=True):
    """Content of `deployments.json`."""

    live: dict[str, Live] = {}
    history: tuple[Change, ...] = ()
    format: int = FORMAT


def read(workspace: Workspace) -> Deployments:
    """What is live; empty where nothing was ever deployed."""
    try:
        content = workspace.deployments.read_bytes()
    except FileNotFoundError:
        return Deployments()
    try:
        found = msgspec.json.decode(content, type=Deployments)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StorageError(
            f"{workspace.deployments} is damaged: {error}.", next_step="Restore it, or remove it and deploy again."
        ) from None
    if found.format > FORMAT:
        raise StorageError(
            f"{workspace.deployments} has format {found.format}, this Bottega knows up to {FORMAT}.",
            next_step="Update Bottega.",
        )
    return found


def versions(workspace: Workspace, usecase: str) -> tuple[int, ...]:
    """Versions of a use case that have an artefact in the model repository, oldest first."""
    folder = workspace.repository / check_name(usecase, "use case")
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and (p / "manifest.json").is_file())
    )


def deploy(
    workspace: Workspace,
    usecase: str,
    version: int,
    reason: str,
    *,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Make `version` the champion of `usecase`. Raises NotFound where it has no artefact."""
    known = versions(workspace, usecase)
    if version not in known:
        has = f"Artefacts exist of versions {', '.join(map(str, known))}." if known else "There is no artefact of it."
        raise NotFound(
            f"{usecase} has no compiled version {version}. {has}", next_step=f"Run 'bottega compile {usecase}'."
        )
    with _locked(workspace):
        state = read(workspace)
        live = state.live.get(usecase)
        before = live.champion if live else None
        previous = live.previous if live else ()
        if before is not None and before != version:
            previous = (*previous, before)
        change = Change(at or datetime.now(UTC), "deploy", usecase, version, before, reason, dict(evidence or {}))
        _write(workspace, state, Live(version, previous), change)
    return change


def rollback(
    workspace: Workspace,
    usecase: str,
    reason: str,
    *,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Make the champion before this one the champion again. Raises Conflict where there was none."""
    with _locked(workspace):
        state = read(workspace)
        live = state.live.get(check_name(usecase, "use case"))
        if live is None:
            raise NotFound(f"{usecase} is not deployed.", next_step=f"Run 'bottega deploy {usecase}'.")
        if not live.previous:
            raise Conflict(f"{usecase} has no champion before version {live.champion} to roll back to.")
        version = live.previous[-1]
        if version not in versions(workspace, usecase):
            raise Conflict(
                f"Version {version} of {usecase} has no artefact any more.",
                next_step=f"Run 'bottega compile {usecase}' for it, or deploy another version.",
            )
        change = Change(
            at or datetime.now(UTC), "rollback", usecase, version, live.champion, reason, dict(evidence or {})
        )
        _write(workspace, state, Live(version, live.previous[:-1]), change)
    return change


def _write(workspace: Workspace, state: Deployments, live: Live, change: Change) -> None:
    if not change.reason.strip():
        raise InvalidInput("A deployment needs a reason.", next_step="Say why, in a few words.")
    write_json(workspace.deployments, Deployments({**state.live, change.usecase: live}, (*state.history, change)))


@contextlib.contextmanager
def _locked(workspace: Workspace) -> Iterator[None]:
    """Hold the lock that makes read, change and write one step for all processes."""
    path = workspace.deployments.with_suffix(".lock")
    with disk_errors(path), path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
