"""What is live: the file that says it, with the history of how it became so.

One JSON file, replaced atomically. The server follows the file; whoever deploys only writes it. For each use case there
is a champion, which answers; there may be a canary, which answers a share of the requests, and a shadow, which is asked
what the champion was asked and never answers.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from bottega.errors import StorageError
from bottega.files import disk_errors, write_json
from bottega.serving.guardrails import LIMITS, Limits
from bottega.serving.protocol import check_name
from bottega.workspace import Workspace

FORMAT = 2
"""1 had no canary and no shadow: a file of it reads as a champion with its predecessors."""

Role = Literal["champion", "canary", "shadow"]
ROLES: tuple[Role, ...] = ("champion", "canary", "shadow")


class Canary(msgspec.Struct, frozen=True):
    """A version on trial, the share of the requests that it answers (over 0 and up to 1), and what it is held to.

    `since` is when its trial began: what was seen of it before, under other limits or before it was taken back, does
    not count.
    """

    version: int
    share: float
    limits: Limits = LIMITS
    since: datetime | None = None


class Live(msgspec.Struct, frozen=True):
    """What is live for one use case; `previous` are the champions before this one, newest last."""

    champion: int
    previous: tuple[int, ...] = ()
    canary: Canary | None = None
    shadow: int | None = None

    def version(self, role: Role) -> int | None:
        """The version in a role; None where there is none."""
        match role:
            case "champion":
                return self.champion
            case "canary":
                return None if self.canary is None else self.canary.version
            case "shadow":
                return self.shadow


class RoleStatus(msgspec.Struct, frozen=True):
    """A version in its role of one use case: the share of the requests that it answers, counts of them, and more.

    `comparison` holds what the answers of a canary or shadow are beside the champion's.
    """

    role: Role
    version: int
    share: float
    counts: dict[str, int] = {}
    comparison: dict[str, Any] = {}
    last_error: str = ""


class Change(msgspec.Struct, frozen=True):
    """One decision: when (UTC), what, why, and the figures behind it.

    Since then `version` stands where `before` stood. Of a canary or shadow that was taken back, `before` is its version
    and `version` the champion, which has its requests again. `share` is a canary's.
    """

    at: datetime
    action: Literal["deploy", "promote", "rollback"]
    usecase: str
    version: int
    before: int | None
    reason: str
    evidence: dict[str, Any] = {}
    role: Role = "champion"
    share: float | None = None


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


def write(workspace: Workspace, state: Deployments, live: Live, *changes: Change) -> None:
    """Replace what is live of the changes' use case, and add the changes to the history; only under `locked`."""
    everything = {**state.live, changes[0].usecase: live}
    write_json(workspace.deployments, Deployments(everything, (*state.history, *changes)))


@contextlib.contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Hold the lock that makes read, change and write one step for all processes."""
    path = workspace.deployments.with_suffix(".lock")
    with disk_errors(path), path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
