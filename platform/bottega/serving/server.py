"""The server: binds, serves, follows the deployments, and ends without losing a request or a log row."""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import uvicorn
import uvloop

from bottega.errors import BottegaError, Conflict, InvalidInput, Unavailable
from bottega.files import write_json
from bottega.serving.address import TOKEN_VARIABLE, Address, read_file, read_server
from bottega.serving.connection import Connection
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.logs import FORMATS, LEVELS, configure_logs
from bottega.serving.metrics import Metrics
from bottega.serving.patience import PATIENCE, Patience, watch
from bottega.serving.places import Places
from bottega.serving.repository import Control, Repository
from bottega.serving.rest import App
from bottega.serving.tenants import Guard, read_tenants
from bottega.settings import load_settings
from bottega.workspace import Workspace

DRAIN_S = 10
"""How long a stopping server waits for the requests that it has begun."""
SWITCH_INTERVAL_S = 0.0005
"""How long the prediction log's thread may keep the interpreter from the event loop."""

_report = logging.getLogger("bottega.serving")


def run(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    repository: Path | None = None,
    control: Control = "none",
    grpc_port: int | None = None,
    tenants: Path | None = None,
    patience: Patience = PATIENCE,
) -> None:
    """Serve what is deployed in the workspace, and the plain models of a `repository`, until SIGTERM or SIGINT.

    With `grpc_port` over gRPC too.

    `port` 0 takes any free one. `token` (default: BOTTEGA_TOKEN) must come with each request; an address other than
    loopback needs one, and so does a file of `tenants`, who have tokens of their own. `patience` is how long a client
    may take to send a request. Raises Unavailable where the port is taken, Conflict where a server already runs here.
    """
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    check_address(host, token)
    guard = open_guard(token, tenants)
    other = read_server(workspace)
    if other is not None:
        raise Conflict(
            f"A server already runs for workspace {workspace.root}: {other.url}, process {other.pid}.",
            next_step="Stop it first, or use another workspace.",
        )
    with bind(host, port) as listener:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        uvloop.run(_serve(workspace, host, listener, guard, repository, control, grpc_port, patience))


def check_address(host: str, token: str) -> None:
    """Raise InvalidInput for an address that other machines reach, where no token guards it."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not token:
        raise InvalidInput(
            f"{host} is open to other machines, and no token is set.",
            next_step=f"Set {TOKEN_VARIABLE}, or serve on 127.0.0.1.",
        )


def open_guard(token: str, tenants: Path | None) -> Guard:
    """Who may ask. Raises InvalidInput for tenants without an operator, who alone may ask for status and metrics."""
    if tenants is not None and not token:
        raise InvalidInput("There are tenants, and no token is set for you.", next_step=f"Set {TOKEN_VARIABLE}.")
    return Guard(token, () if tenants is None else read_tenants(tenants).items())


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Unavailable where the address or the port cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(
            f"Cannot serve on {host}, port {port}: {reason}.",
            next_step="Choose another port with --port, or stop the process that uses it.",
        ) from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn would end the process by the signal that stopped it, and so with no success."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say so."""
        await super().startup(sockets)
        self._listening()


async def _serve(
    workspace: Workspace,
    host: str,
    listener: socket.socket,
    guard: Guard,
    folder: Path | None,
    control: Control,
    grpc_port: int | None,
    patience: Patience,
) -> None:
    metrics = Metrics()
    repository = None if folder is None else Repository(folder, workspace.signing_key, metrics, control)
    log = PredictionLog(workspace.predictions)
    live = LiveEndpoints(workspace, metrics, log)
    app = App(live, log, metrics, guard, repository, Places(workspace.search))
    calls, grpc_port = _open_grpc(app, host, grpc_port, guard)
    address = Address(os.getpid(), host, listener.getsockname()[1], datetime.now(UTC), grpc_port)

    def listening() -> None:
        write_json(workspace.server, address)
        _say("started", url=address.url, pid=address.pid, grpc_port=grpc_port)

    server = _Server(_configure(app), listening)

    def drain() -> None:
        _say("draining", requests=len(server.server_state.tasks))
        app.draining = True
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    try:
        await live.refresh()
        followers = [asyncio.create_task(live.follow())]
        followers.append(asyncio.create_task(watch(server.server_state.connections, patience)))
        if repository is not None:
            await repository.load_all()
            followers.append(asyncio.create_task(repository.follow()))
        if calls is not None:
            await calls.start()
        await server.serve([listener])
        if calls is not None:
            await calls.stop(DRAIN_S)
        for follower in followers:
            follower.cancel()
        await live.save_trials()
    finally:
        _withdraw(workspace)
        await asyncio.to_thread(log.close)
        _say("ended", prediction_log=log.counts())


def _say(event: str, **fields: object) -> None:
    _report.info("Server %s.", event, extra={"fields": {"event": event, **fields}})


def _open_grpc(app: App, host: str, port: int | None, guard: Guard) -> tuple[Any, int | None]:
    """A bound gRPC server and its port; nothing of gRPC is imported where it is not wanted."""
    if port is None:
        return None, None
    from bottega.serving.grpc_server import GrpcService, open_grpc

    return open_grpc(GrpcService(app.models, lambda: app.ready, guard), host, port)


def _configure(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _withdraw(workspace: Workspace) -> None:
    address = read_file(workspace)
    if address is not None and address.pid == os.getpid():
        workspace.server.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Entry of `python -m bottega.serving.server`; the exit code."""
    parser = argparse.ArgumentParser(prog="bottega.serving.server", description="Serve a workspace's deployments.")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--tenants", type=Path)
    parser.add_argument("--model-control", choices=get_args(Control), default="none")
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    parser.add_argument("--log-level", choices=LEVELS, default="warning")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--head-timeout-s", type=float, default=PATIENCE.head_s)
    parser.add_argument("--body-timeout-s", type=float, default=PATIENCE.body_s)
    options = parser.parse_args(arguments)
    configure_logs(options.log_format, options.log_level, options.access_log)
    try:
        workspace = Workspace.open(options.workspace, load_settings().online)
        run(
            workspace,
            options.host,
            options.port,
            repository=options.repository,
            control=options.model_control,
            grpc_port=options.grpc_port,
            tenants=options.tenants,
            patience=Patience(options.head_timeout_s, options.body_timeout_s),
        )
    except BottegaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
