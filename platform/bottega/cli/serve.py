"""`bottega serve`, `predict`, `studio`: the server, its client, and the pictures."""

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table
from bottega.errors import InvalidInput


class ModelControl(StrEnum):
    """Who decides what a repository's models are loaded."""

    NONE = "none"
    POLL = "poll"
    EXPLICIT = "explicit"


class LogFormat(StrEnum):
    """How a line of the server's log looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least grave event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    http_port: Annotated[
        int | None, typer.Option("--http-port", "--port", help="Port; 0 takes a free one. Default 8080.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address; another than loopback needs BOTTEGA_TOKEN.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", help="Also serve gRPC on this port; 0 takes a free one.")
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option("--repository", help="Also serve the plain models of this folder: <model>/<version>/model.onnx."),
    ] = None,
    model_control: Annotated[
        ModelControl,
        typer.Option(
            "--model-control", help="none: load all at the start; poll: follow the files; explicit: on demand."
        ),
    ] = ModelControl.NONE,
    tenants: Annotated[
        Path | None, typer.Option("--tenants", help="TOML file: whose token (by its SHA-256) may ask which models.")
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Of the lines on standard error.")
    ] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="The least that is said.")] = LogLevel.WARNING,
    access_log: Annotated[bool, typer.Option("--access-log", help="Also one line a request.")] = False,
    head_timeout_s: Annotated[
        float, typer.Option("--head-timeout-s", min=0.1, help="How long a request's headers may take to arrive.")
    ] = 10.0,
    body_timeout_s: Annotated[
        float, typer.Option("--body-timeout-s", min=0.1, help="How long a request's body may take to arrive.")
    ] = 60.0,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, max=256, help="Server processes that share the port (Linux).")
    ] = 1,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve what is deployed, by the Open Inference Protocol V2 and plain JSON, until Ctrl-C or SIGTERM."""
    from bottega.serving.logs import configure_logs
    from bottega.serving.patience import Patience
    from bottega.serving.server import run

    configure_logs(log_format.value, log_level.value, access_log)
    session = open_session(workspace, http_port=http_port, host=host)
    settings = session.settings
    session.out.print(
        f"Starting the server of {session.workspace.root} on http://{settings.host}:{settings.http_port}. "
        "Ctrl-C ends it."
    )
    run(
        session.workspace,
        settings.host,
        settings.http_port,
        repository=repository,
        control=model_control.value,
        grpc_port=grpc_port,
        tenants=tenants,
        patience=Patience(head_timeout_s, body_timeout_s),
        replicas=replicas,
    )


def predict(
    usecase: Annotated[str, typer.Argument(help="Use case, for example eta.")],
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE...", help="pu_zone=74 do_zone=166 at=2024-01-16T08:30")
    ],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running server; a time without offset is the city's local time.

    A list is given with commas, a file as FIELD=@PATH.
    """
    from bottega.serving.client import Client

    session = open_session(workspace, as_json)
    with Client.from_workspace(session.workspace) as client:
        request = client.describe(usecase)["request"]
        row = request_row(usecase, fields, {field["name"]: field for field in request})
        found = client.predict(usecase, [row])
    answer = found.answers[0]
    rows = [
        (name, f"{value:.2f}" if isinstance(value, float) else value, found.units.get(name, ""))
        for name, value in answer.items()
    ]
    session.emit(
        {
            "usecase": usecase,
            "model_version": found.model_version,
            "id": found.ids[0],
            "answer": answer,
            "units": found.units,
        },
        table(f"{usecase}, model version {found.model_version}", ("field", "value", "unit"), rows),
    )


def studio(
    port: Annotated[int | None, typer.Option("--port", help="Port of the page. Default 8501.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address. Default loopback.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Open the Studio: the loop, the map, error and drift over time."""
    session = open_session(workspace, studio_port=port, host=host)
    command = studio_command(session.settings.host, session.settings.studio_port, headless)
    environment = {**os.environ, "BOTTEGA_WORKSPACE": str(session.workspace.root)}
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        code = 0
    if code:
        raise typer.Exit(code)


def studio_command(host: str, port: int, headless: bool) -> list[str]:
    """The command that runs the Studio's page; no telemetry, no file watcher."""
    from importlib.util import find_spec
    from pathlib import Path

    found = find_spec("studio")
    assert found is not None and found.submodule_search_locations is not None
    page = Path(found.submodule_search_locations[0]) / "app.py"
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": str(headless).lower(),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(page),
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def request_row(usecase: str, pairs: list[str], known: dict[str, dict[str, Any]]) -> dict[str, object]:
    """The request from FIELD=VALUE texts, typed by the use case's schema."""
    row: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise InvalidInput(
                f"{pair!r} is no field of {usecase}." if equals else f"{pair!r} is not FIELD=VALUE.",
                next_step=f"The fields are {', '.join(known)}.",
            )
        if name in row:
            raise InvalidInput(f"{name} is given twice.", next_step="Give each field once.")
        field = known[name]
        if "shape" in field:
            row[name] = [_value(name, text, field) for text in value.split(",") if text]
        else:
            row[name] = _value(name, value, field)
    return row


def _value(name: str, text: str, field: dict[str, Any]) -> object:
    from bottega.times import CITY_TIMEZONE, parse_time

    if field.get("is_time"):
        return parse_time(text, CITY_TIMEZONE).isoformat()
    if field.get("is_binary"):
        return _file(name, text)
    return text if field["datatype"] == "BYTES" else _number(name, text, field["datatype"])


def _file(name: str, text: str) -> bytes:
    """The bytes of the file that `@path` names."""
    if not text.startswith("@"):
        raise InvalidInput(f"{name} is {text[:80]!r}; it must name a file.", next_step=f"Give {name}=@FILE.")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name}: {text[1:]} cannot be read: {error.strerror}.") from None


def _number(name: str, text: str, datatype: str) -> int | float | bool:
    if datatype == "BOOL":
        if text not in ("true", "false"):
            raise InvalidInput(f"{name} is {text!r}; it must be true or false.")
        return text == "true"
    try:
        return int(text) if datatype.startswith("INT") else float(text)
    except ValueError:
        kind = "a whole number" if datatype.startswith("INT") else "a number"
        raise InvalidInput(f"{name} is {text!r}; it must be {kind}.") from None
