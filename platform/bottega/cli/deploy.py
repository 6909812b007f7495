"""`bottega deploy`: what is live, and how it changes."""

from typing import Annotated

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table
from bottega.cli.groups import NameFirst

app = typer.Typer(
    cls=NameFirst,
    help="Make a version live: 'bottega deploy eta@champion'; see 'status'; go back with 'rollback'.",
    no_args_is_help=True,
)


@app.command("run", hidden=True)
def run(
    reference: Annotated[str, typer.Argument(help="eta, eta@champion, eta@challenger or eta/3.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "deployed by hand",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a compiled version live; a running server switches without dropping a request."""
    from bottega.pipeline.release import deploy_version
    from bottega.serving.address import read_server

    session = open_session(workspace, as_json)
    change = deploy_version(session.workspace, reference, reason)
    address = read_server(session.workspace)
    where = (
        f"The server on {address.url} answers with it."
        if address
        else "No server runs; start one with 'bottega serve'."
    )
    session.emit(
        change, f"{change.usecase} version {change.version} is live (before: {change.before or 'none'}). {where}"
    )


@app.command()
def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show what is live and how it came to be."""
    from bottega.serving import deployment
    from bottega.serving.address import read_server

    session = open_session(workspace, as_json)
    found = deployment.read(session.workspace)
    address = read_server(session.workspace)
    history = [(f"{c.at:%Y-%m-%d %H:%M:%S}", c.action, c.usecase, str(c.version), c.reason) for c in found.history]
    session.emit(
        {"live": found.live, "history": found.history, "server": address.url if address else None},
        table("live", ("use case", "version"), [(name, str(live.champion)) for name, live in found.live.items()]),
        table("history (UTC)", ("when", "what", "use case", "version", "why"), history),
        f"Server: {address.url if address else 'none runs'}",
    )


@app.command()
def rollback(
    usecase: Annotated[str, typer.Argument(help="Use case, for example eta.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "rolled back by hand",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the version before the present one live again."""
    from bottega.pipeline.release import wait_until_live
    from bottega.serving import deployment

    session = open_session(workspace, as_json)
    change = deployment.rollback(session.workspace, usecase, reason)
    wait_until_live(session.workspace, usecase, change.version)
    session.emit(change, f"{usecase} version {change.version} is live again (before: {change.before}).")
