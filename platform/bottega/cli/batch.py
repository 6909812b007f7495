"""`bottega batch`: a file of request rows answered without a server."""

from pathlib import Path
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session


def batch(
    usecase: Annotated[str, typer.Argument(help="Use case, for example eta.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A .csv or .parquet file, or a folder of the latter.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for answers/, rejected/ and manifest.json.")],
    version: Annotated[
        int | None, typer.Option("--version", help="Any compiled version; default: the live one.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Remove what an earlier run left in OUTPUT.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer all request rows of a file; started again after a kill, it goes on where it was."""
    from bottega.serving.batch import predict_file

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        found = predict_file(session.workspace, usecase, source, output, version, restart=restart, progress=progress)
    session.emit(
        found,
        f"{found.answered} rows answered by {usecase} version {found.version}, {found.rejected} rejected, in "
        f"{found.segments} segments ({found.computed} computed now): {found.output}.",
    )
