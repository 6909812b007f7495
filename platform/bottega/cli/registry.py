"""`bottega registry`: runs and versions, champion and challenger."""

import subprocess
import sys
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table

app = typer.Typer(help="Model registry: versions, aliases, lineage.", no_args_is_help=True)


@app.command("list")
def list_versions(
    usecase: Annotated[str, typer.Argument(help="Use case.")] = "eta",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a use case with their aliases and metrics."""
    from bottega.registry import Registry

    session = open_session(workspace, as_json)
    found = Registry(session.workspace).versions(usecase)
    rows = [
        (
            str(version.version),
            ", ".join(version.aliases),
            version.tags.get("model", ""),
            *(
                f"{version.metrics[name]:.3f}" if name in version.metrics else ""
                for name in ("mae_min", "baseline_mae_min")
            ),
            version.run_id[:8],
        )
        for version in found
    ]
    session.emit(found, table(usecase, ("version", "aliases", "model", "MAE", "baseline's", "run"), rows))


@app.command()
def show(
    reference: Annotated[str, typer.Argument(help="eta, eta@champion or eta/3.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one version: metrics, lineage, where its package lies."""
    from bottega.registry import Registry

    session = open_session(workspace, as_json)
    found = Registry(session.workspace).get(reference)
    facts = {
        "version": str(found.version),
        "aliases": ", ".join(found.aliases),
        "package": str(found.folder),
        **found.tags,
    }
    session.emit(
        found,
        table("", ("fact", "value"), list(facts.items())),
        table("", ("metric", "value"), list(found.metrics.items())),
    )


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", help="Port of the page.")] = 5000,
    host: Annotated[str, typer.Option("--host", help="Address.")] = "127.0.0.1",
    workspace: WorkspaceOption = None,
) -> None:
    """Open MLflow's own page on this workspace's runs, until Ctrl-C."""
    from bottega.registry import Registry

    session = open_session(workspace)
    command = Registry(session.workspace).server_command(host, port)
    try:
        code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    except KeyboardInterrupt:
        code = 0
    if code:
        raise typer.Exit(code)
