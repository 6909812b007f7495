"""`bottega deploy`: what is live, and how it changes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bottega.cli.console import JsonOption, Session, WorkspaceOption, open_session, table
from bottega.cli.groups import NameFirst
from bottega.errors import InvalidInput

if TYPE_CHECKING:
    from bottega.serving.deployment import Role

app = typer.Typer(
    cls=NameFirst,
    help="Make a version live: 'bottega deploy eta@champion'; on trial: 'bottega deploy eta@3 --canary 10%' or "
    "'--shadow'; see 'status'; 'promote' it or go back with 'rollback'.",
    no_args_is_help=True,
)
UseCaseArgument = Annotated[str, typer.Argument(help="Use case, for example eta.")]
RoleOption = Annotated[str | None, typer.Option("--role", help="champion, canary or shadow.", show_default=False)]


@app.command("run", hidden=True)
def run(
    reference: Annotated[str, typer.Argument(help="eta, eta@champion, eta@challenger, eta@3 or eta/3.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "deployed by hand",
    canary: Annotated[
        str | None,
        typer.Option("--canary", metavar="SHARE", help="On trial: it answers this share of the requests, such as 10%."),
    ] = None,
    max_error_rate: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Of a canary: requests that fail for it alone, such as 0.5% (the default)."),
    ] = None,
    max_p99_ms: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Of a canary: its 99th percentile. Default: three times the champion's.",
        ),
    ] = None,
    max_shift: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Of a canary: how far its mean answer may move, in standard deviations. Default: 0.5."
        ),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Beside: it is asked what the champion is asked, and never answers.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a compiled version live; a running server switches without dropping a request."""
    import msgspec

    from bottega.pipeline.release import deploy_version
    from bottega.serving.deployment import LIMITS

    session = open_session(workspace, as_json)
    if canary is not None and shadow:
        raise InvalidInput("A version cannot be canary and shadow at once.", next_step="Deploy it as one of them.")
    limits = _limits(max_error_rate, max_p99_ms, max_shift)
    if limits and canary is None:
        raise InvalidInput("Limits are a canary's.", next_step="Add for example --canary 10%.")
    if canary is not None:
        share = _share(canary)
        held_to = msgspec.structs.replace(LIMITS, **limits)
        change = deploy_version(session.workspace, reference, reason, "canary", share, held_to)
        said = f"{change.usecase} version {change.version} is the canary, with {share:.3g} of the requests."
    elif shadow:
        change = deploy_version(session.workspace, reference, reason, "shadow")
        said = f"{change.usecase} version {change.version} is the shadow."
    else:
        change = deploy_version(session.workspace, reference, reason)
        said = f"{change.usecase} version {change.version} is live (before: {change.before or 'none'})."
    session.emit(change, f"{said} {_where(session)}")


@app.command()
def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show what is live in which role, what became of its requests, and how it came to be."""
    from bottega.serving import deployment
    from bottega.serving.address import read_server
    from bottega.serving.client import Client

    session = open_session(workspace, as_json)
    found = deployment.read(session.workspace)
    address = read_server(session.workspace)
    roles: dict[str, Any] = {}
    failures: dict[str, str] = {}
    if address is not None:
        with Client.at(address) as client:
            served = client.status()
        roles = {name: usecase.roles for name, usecase in served.usecases.items()}
        failures = served.failures
    history = [
        (f"{c.at:%Y-%m-%d %H:%M:%S}", c.action, c.usecase, c.role, str(c.version), str(c.before or ""), c.reason)
        for c in found.history
    ]
    session.emit(
        {
            "live": found.live,
            "history": found.history,
            "server": address.url if address else None,
            "roles": roles,
            "failures": failures,
        },
        table("live", ("use case", "role", "version", "share", "requests"), _live_rows(found.live, roles)),
        table("history (UTC)", ("when", "what", "use case", "role", "version", "before", "why"), history),
        f"Server: {address.url if address else 'none runs'}",
        *(f"{name} does not load: {text}" for name, text in failures.items()),
    )


@app.command()
def promote(
    usecase: UseCaseArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "promoted by hand",
    role: RoleOption = "canary",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the canary, or with --role the shadow, the champion; the server's evidence goes into the history."""
    from bottega.pipeline.release import wait_until_live
    from bottega.serving import deployment
    from bottega.serving.address import read_server
    from bottega.serving.client import Client

    session = open_session(workspace, as_json)
    chosen = _role(role or "canary")
    evidence: dict[str, Any] = {}
    address = read_server(session.workspace)
    if address is not None:
        with Client.at(address) as client:
            served = client.status().usecases.get(usecase)
        found = None if served is None else served.role(chosen)
        evidence = {} if found is None else {"counts": found.counts, "comparison": found.comparison}
    change = deployment.promote(session.workspace, usecase, reason, chosen, evidence=evidence)
    wait_until_live(session.workspace, usecase, change.version)
    session.emit(change, f"{usecase} version {change.version} is the champion (before: {change.before}).")


@app.command()
def rollback(
    usecase: UseCaseArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "rolled back by hand",
    role: RoleOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back the canary where there is one, else the champion, for the one before it; --role says which."""
    from bottega.pipeline.release import wait_until_live
    from bottega.serving import deployment

    session = open_session(workspace, as_json)
    change = deployment.rollback(session.workspace, usecase, reason, None if role is None else _role(role))
    wait_until_live(session.workspace, usecase, change.version)
    if change.role == "champion":
        said = f"{usecase} version {change.version} is live again (before: {change.before})."
    else:
        said = f"{usecase} version {change.before} is no {change.role} any more; version {change.version} is live."
    session.emit(change, said)


def _share(text: str) -> float:
    """A share between 0 and 1 from a percentage."""
    percent = _percent(text)
    if percent is None or not 0 < percent <= 100:
        raise InvalidInput(
            f"The canary's share is {text!r}; it is over 0 and up to 100 percent.", next_step="Give for example 10%."
        )
    return percent / 100


def _percent(text: str) -> float | None:
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        return None


def _limits(error_rate: str | None, p99_ms: float | None, shift: float | None) -> dict[str, float]:
    """The limits that were given, by their fields' names."""
    given = {"p99_ms": p99_ms, "shift": shift}
    if error_rate is not None:
        percent = _percent(error_rate)
        if percent is None or not 0 <= percent < 100:
            raise InvalidInput(f"The error rate is {error_rate!r}; it is from 0 to below 100 percent.")
        given["excess_errors"] = percent / 100
    return {name: value for name, value in given.items() if value is not None}


def _role(text: str) -> "Role":
    from bottega.serving.deployment import ROLES

    if text not in ROLES:
        raise InvalidInput(f"{text!r} is no role.", next_step=f"Roles are {', '.join(ROLES)}.")
    return text


def _where(session: Session) -> str:
    from bottega.serving.address import read_server

    address = read_server(session.workspace)
    return f"The server on {address.url} has it." if address else "No server runs; start one with 'bottega serve'."


def _live_rows(live: dict[str, Any], roles: dict[str, Any]) -> list[tuple[str, ...]]:
    """Use case, role, version, share of the requests, and counts where a server runs."""
    rows: list[tuple[str, ...]] = []
    for name, found in live.items():
        share = found.canary.share if found.canary is not None else 0.0
        shares = {"champion": 1 - share, "canary": share, "shadow": 0.0}
        served = {status.role: status for status in roles.get(name, ())}
        for role, part in shares.items():
            version = found.version(role)
            if version is not None:
                counts = served[role].counts if role in served else {}
                told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
                rows.append((name, role, str(version), f"{100 * part:.3g} %", told))
    return rows
