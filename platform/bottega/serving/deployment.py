"""Decisions about what is live: deploy, try a canary or a shadow, promote, roll back; each with its reason."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from bottega.errors import Conflict, InvalidInput, NotFound
from bottega.serving.deployments import ROLES, Canary, Change, Deployments, Live, Role, locked, read, versions, write
from bottega.serving.guardrails import LIMITS, Limits
from bottega.serving.protocol import check_name
from bottega.workspace import Workspace

__all__ = [
    "LIMITS",
    "ROLES",
    "Canary",
    "Change",
    "Deployments",
    "Limits",
    "Live",
    "Role",
    "deploy",
    "promote",
    "read",
    "rollback",
    "try_canary",
    "try_shadow",
    "versions",
]


def deploy(
    workspace: Workspace,
    usecase: str,
    version: int,
    reason: str,
    *,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Make `version` the champion of `usecase`. Raises NotFound where it has no artefact.

    Another canary than `version` ends, as a change of its own: what it was compared with is no more.
    """
    _check_compiled(workspace, usecase, version)
    with locked(workspace):
        state = read(workspace)
        live = state.live.get(usecase)
        before = None if live is None else live.champion
        changes = [_change("deploy", usecase, version, before, reason, evidence, at)]
        if live is not None and live.canary is not None and live.canary.version != version:
            why = f"version {version} became the champion"
            changes.append(_change("rollback", usecase, version, live.canary.version, why, None, at, "canary"))
        write(workspace, state, _crowned(live, version), *changes)
    return changes[0]


def try_canary(
    workspace: Workspace,
    usecase: str,
    version: int,
    share: float,
    reason: str,
    *,
    limits: Limits = LIMITS,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Have `version` answer a share of the requests, over 0 and up to 1; the champion answers the rest.

    It is taken back where it breaks one of the `limits`. Takes the place of a canary before it; the same version under
    the same limits goes on with its trial. Raises NotFound where there is no champion, or no artefact of the version.
    """
    if not 0 < share <= 1:
        raise InvalidInput(
            f"A canary's share is {share:g}; it must be over 0 and at most 1.", next_step="Give 0.1 for a tenth."
        )
    limits.check()
    with locked(workspace):
        state, live = _beside_champion(workspace, usecase, version, "canary")
        change = _change("deploy", usecase, version, live.version("canary"), reason, evidence, at, "canary", share)
        before = live.canary
        goes_on = before is not None and (before.version, before.limits) == (version, limits)
        since = before.since if before is not None and goes_on else change.at
        write(workspace, state, msgspec.structs.replace(live, canary=Canary(version, share, limits, since)), change)
    return change


def try_shadow(
    workspace: Workspace,
    usecase: str,
    version: int,
    reason: str,
    *,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Have `version` asked whatever the champion is asked; nobody gets its answers.

    Takes the place of a shadow before it. Raises NotFound where there is no champion, or no artefact of the version.
    """
    with locked(workspace):
        state, live = _beside_champion(workspace, usecase, version, "shadow")
        change = _change("deploy", usecase, version, live.shadow, reason, evidence, at, "shadow")
        write(workspace, state, msgspec.structs.replace(live, shadow=version), change)
    return change


def promote(
    workspace: Workspace,
    usecase: str,
    reason: str,
    role: Role = "canary",
    *,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Make the canary (or the shadow) the champion. Raises Conflict where there is none."""
    with locked(workspace):
        state = read(workspace)
        live = _live(state, usecase)
        version = None if role == "champion" else live.version(role)
        if version is None:
            raise Conflict(
                f"{usecase} has no {role} to promote.",
                next_step=f"Run 'bottega deploy {usecase}@VERSION --{role}'.",
            )
        change = _change("promote", usecase, version, live.champion, reason, evidence, at)
        write(workspace, state, _crowned(live, version), change)
    return change


def rollback(
    workspace: Workspace,
    usecase: str,
    reason: str,
    role: Role | None = None,
    *,
    version: int | None = None,
    evidence: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Change:
    """Take back what was deployed last in a role; without one, of the canary where there is one, else of the champion.

    The champion goes to the one before it. With `version`, only where that version is in the role. Raises Conflict
    where there is nothing to take back.
    """
    with locked(workspace):
        state = read(workspace)
        live = _live(state, usecase)
        role = role or ("champion" if live.canary is None else "canary")
        before = live.version(role)
        if before is None or version not in (None, before):
            has = "none" if before is None else f"version {before}"
            raise Conflict(f"The {role} of {usecase} is {has}, so there is nothing to roll back.")
        after = _without(workspace, usecase, live, role)
        change = _change("rollback", usecase, after.champion, before, reason, evidence, at, role)
        write(workspace, state, after, change)
    return change


def _crowned(live: Live | None, version: int) -> Live:
    """With `version` as the champion: a canary ends, and a shadow that became the champion."""
    if live is None:
        return Live(version)
    previous = live.previous if live.champion == version else (*live.previous, live.champion)
    return Live(version, previous, shadow=None if live.shadow == version else live.shadow)


def _without(workspace: Workspace, usecase: str, live: Live, role: Role) -> Live:
    if role == "canary":
        return msgspec.structs.replace(live, canary=None)
    if role == "shadow":
        return msgspec.structs.replace(live, shadow=None)
    if not live.previous:
        raise Conflict(f"{usecase} has no champion before version {live.champion} to roll back to.")
    version = live.previous[-1]
    if version not in versions(workspace, usecase):
        raise Conflict(
            f"Version {version} of {usecase} has no artefact any more.",
            next_step=f"Run 'bottega compile {usecase}' for it, or deploy another version.",
        )
    return msgspec.structs.replace(_crowned(live, version), previous=live.previous[:-1])


def _beside_champion(workspace: Workspace, usecase: str, version: int, role: Role) -> tuple[Deployments, Live]:
    """State and what is live, where `version` can stand in `role` beside the champion."""
    _check_compiled(workspace, usecase, version)
    state = read(workspace)
    live = _live(state, usecase)
    if version == live.champion:
        raise Conflict(
            f"Version {version} of {usecase} is the champion, which cannot be its own {role}.",
            next_step="Choose another version.",
        )
    return state, live


def _check_compiled(workspace: Workspace, usecase: str, version: int) -> None:
    known = versions(workspace, usecase)
    if version not in known:
        has = f"Artefacts exist of versions {', '.join(map(str, known))}." if known else "There is no artefact of it."
        raise NotFound(
            f"{usecase} has no compiled version {version}. {has}", next_step=f"Run 'bottega compile {usecase}'."
        )


def _live(state: Deployments, usecase: str) -> Live:
    live = state.live.get(check_name(usecase, "use case"))
    if live is None:
        raise NotFound(f"{usecase} is not deployed.", next_step=f"Run 'bottega deploy {usecase}'.")
    return live


def _change(
    action: Literal["deploy", "promote", "rollback"],
    usecase: str,
    version: int,
    before: int | None,
    reason: str,
    evidence: Mapping[str, Any] | None,
    at: datetime | None,
    role: Role = "champion",
    share: float | None = None,
) -> Change:
    if not reason.strip():
        raise InvalidInput("A deployment needs a reason.", next_step="Say why, in a few words.")
    when = at or datetime.now(UTC)
    return Change(when, action, usecase, version, before, reason, dict(evidence or {}), role, share)
