"""The server: binds, serves, follows the deployments, and ends without losing a request or a log row."""

import argparse
import asyncio
import contextlib
import gc
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

from bottega.errors import BottegaError, Conflict, InvalidInput
from bottega.files import write_json
from bottega.serving.address import TOKEN_VARIABLE, Address, bind, read_server, withdraw
from bottega.serving.connection import Connection
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.logs import FORMATS, LEVELS, configure_logs, log_options
from bottega.serving.metrics import Metrics
from bottega.serving.patience import PATIENCE, Patience, watch
from bottega.serving.places import Places
from bottega.serving.replica import Replica
from bottega.serving.replicas import Group, keep
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
    replicas: int = 1,
    replica: Replica | None = None,
) -> None:
    """Serve what is deployed in the workspace, and the plain models of a `repository`, until SIGTERM or SIGINT.

    With `grpc_port` over gRPC too.

    `port` 0 takes any free one. `token` (default: BOTTEGA_TOKEN) must come with each request; an address other than
    loopback needs one, and so does a file of `tenants`, who have tokens of their own. `patience` is how long a client
    may take to send a request. With several `replicas` this process keeps them and answers nothing itself; `replica` is
    which of them this one is. Raises Unavailable where the port is taken, Conflict where a server already runs here.
    """
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    check_address(host, token)
    guard = open_guard(token, tenants)
    if replica is None:
        _check_alone(workspace)
    if replicas > 1:
        words = _options(repository, control, tenants, patience)
        keep(Group(workspace, host, port, grpc_port, token, words, replicas))
        return
    with bind(host, port, shared=replica is not None) as listener:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        uvloop.run(_serve(workspace, host, listener, guard, repository, control, grpc_port, patience, replica))


def _check_alone(workspace: Workspace) -> None:
    other = read_server(workspace)
    if other is not None:
        raise Conflict(
            f"A server already runs for workspace {workspace.root}: {other.url}, process {other.pid}.",
            next_step="Stop it first, or use another workspace.",
        )


def _options(repository: Path | None, control: Control, tenants: Path | None, patience: Patience) -> list[str]:
    """The command line of a replica, as `main` reads it. Raises InvalidInput for what replicas cannot do."""
    if control == "explicit":
        raise InvalidInput(
            "A client that loads a model meets one replica, and the others would not have it.",
            next_step="Use --model-control poll, or one replica.",
        )
    given = {
        **{"--repository": repository, "--tenants": tenants, "--model-control": control},
        **{"--head-timeout-s": patience.head_s, "--body-timeout-s": patience.body_s},
    }
    return [
        *log_options(),
        *(word for name, value in given.items() if value is not None for word in (name, str(value))),
    ]


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
    replica: Replica | None,
) -> None:
    metrics = Metrics()
    repository = None if folder is None else Repository(folder, workspace.signing_key, metrics, control)
    log = PredictionLog(workspace.predictions)
    live = LiveEndpoints(workspace, metrics, log, None if replica is None else replica.number)
    app = App(live, log, metrics, guard, repository, Places(workspace.search), replica)
    calls, grpc_port = _open_grpc(app, host, grpc_port, guard, shared=replica is not None)
    address = Address(os.getpid(), host, listener.getsockname()[1], datetime.now(UTC), grpc_port)

    def drain() -> None:
        _say("draining", requests=len(server.server_state.tasks))
        app.draining = True
        server.should_exit = True

    def announce() -> None:
        if replica is None:
            write_json(workspace.server, address)
        else:
            replica.follow_keeper(drain)
        _say("started", url=address.url, pid=address.pid, grpc_port=grpc_port)

    server = _Server(_configure(app), announce)

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
        gc.collect()
        gc.freeze()  # what is loaded is there to stay: the collector, which holds all up, looks at the rest alone
        async with contextlib.nullcontext() if replica is None else replica.telling(app.own_metrics):
            await server.serve([listener])
        if calls is not None:
            await calls.stop(DRAIN_S)
        for follower in followers:
            follower.cancel()
        await live.save_trials()
    finally:
        withdraw(workspace)
        await asyncio.to_thread(log.close)
        _say("ended", prediction_log=log.counts())


def _say(event: str, **fields: object) -> None:
    _report.info("Server %s.", event, extra={"fields": {"event": event, **fields}})


def _open_grpc(app: App, host: str, port: int | None, guard: Guard, shared: bool) -> tuple[Any, int | None]:
    """A bound gRPC server and its port; nothing of gRPC is imported where it is not wanted."""
    if port is None:
        return None, None
    from bottega.serving.grpc_server import GrpcService, open_grpc

    return open_grpc(GrpcService(app.models, lambda: app.ready, guard), host, port, shared)


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
    parser.add_argument("--replicas", type=int, default=1, choices=range(1, 257), metavar="N")
    parser.add_argument("--replica", type=int, help="of several, which the keeper of them starts")
    parser.add_argument("--siblings", type=Path, help="the folder of their sockets")
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
            replicas=options.replicas,
            replica=None if options.replica is None else Replica(options.replica, options.siblings),
        )
    except BottegaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
