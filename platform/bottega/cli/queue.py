"""`bottega queue`: requests through the event log instead of HTTP."""

import asyncio
import signal
from typing import Annotated

import msgspec
import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table

app = typer.Typer(help="Requests through the event log: 'work' answers them, 'ask' appends one.", no_args_is_help=True)

UsecaseArgument = Annotated[str, typer.Argument(help="Use case, for example eta.")]
LogOption = Annotated[
    str | None, typer.Option("--log", help="A path, or kafka://host:port; default: the workspace's event log.")
]


@app.command()
def work(
    usecase: UsecaseArgument,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when no request is left.")] = False,
    log: LogOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer the requests of <USECASE>.requests into <USECASE>.answers until Ctrl-C or SIGTERM."""
    from bottega.eventlog import open_log
    from bottega.serving import queue_worker

    session = open_session(workspace, as_json)

    async def run() -> queue_worker.Worked:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with open_log(log or session.workspace.events) as opened:
            return await queue_worker.work(session.workspace, opened, usecase, stop, until_empty=until_empty)

    session.out.print(f"Answering the requests of {usecase}. Ctrl-C ends it.")
    worked = asyncio.run(run())
    session.emit(
        worked, f"{worked.answered} requests answered, {worked.refused} refused, {worked.repeated} answered before."
    )


@app.command()
def ask(
    usecase: UsecaseArgument,
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE...", help="pu_zone=74 do_zone=166 at=2024-01-16T08:30")
    ],
    request_id: Annotated[str | None, typer.Option("--id", help="Of the request; the same again is safe.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait; 0 only appends.")] = 10.0,
    log: LogOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Append a request and wait for its answer; a time without offset is the city's local time."""
    from bottega.cli.serve import request_row
    from bottega.errors import InvalidInput
    from bottega.eventlog import open_log
    from bottega.serving import queue
    from bottega.serving.local import read_plan

    session = open_session(workspace, as_json)
    known = {field.name: msgspec.to_builtins(field) for field in read_plan(session.workspace, usecase).request}
    row = request_row(usecase, fields, known)
    with open_log(log or session.workspace.events) as opened:
        if timeout_s == 0:
            given = queue.put(opened, usecase, row, request_id)
            session.emit({"id": given}, f"Request {given} waits in {queue.requests_topic(usecase)}.")
            return
        found = queue.ask(opened, usecase, row, request_id, timeout_s)
    if found.error:
        raise InvalidInput(found.error)
    values = [(name, value, found.units.get(name, "")) for name, value in found.answer.items()]
    session.emit(found, table(f"{usecase}, model version {found.model_version}", ("field", "value", "unit"), values))
