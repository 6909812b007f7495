"""`bottega ...`: every stage of the loop is a command with --help and --json.

Exit codes: 0 done, 1 the work failed (a gate, a missing server, a full disk), 2 usage or bad input, 130 interrupted.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bottega import __version__
from bottega.cli.batch import batch
from bottega.cli.compile import compile_model
from bottega.cli.data import app as data
from bottega.cli.demo import demo, doctor
from bottega.cli.deploy import app as deploy
from bottega.cli.features import app as features
from bottega.cli.lab import app as lab
from bottega.cli.market import app as market
from bottega.cli.model import evaluate, train
from bottega.cli.monitor import app as monitor
from bottega.cli.new import app as new
from bottega.cli.newcomers import newcomers
from bottega.cli.queue import app as queue
from bottega.cli.registry import app as registry
from bottega.cli.rides import app as rides
from bottega.cli.search import search
from bottega.cli.serve import predict, serve, studio
from bottega.errors import BottegaError
from bottega.files import disk_errors

app = typer.Typer(
    name="bottega",
    help="A machine-learning platform small enough to read and real enough to run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(features, name="features")
app.command("train")(train)
app.command("evaluate")(evaluate)
app.add_typer(registry, name="registry")
app.command("compile")(compile_model)
app.add_typer(deploy, name="deploy")
app.command("serve")(serve)
app.command("predict")(predict)
app.command("search")(search)
app.command("newcomers")(newcomers)
app.add_typer(rides, name="rides")
app.command("batch")(batch)
app.add_typer(queue, name="queue")
app.add_typer(monitor, name="monitor")
app.add_typer(market, name="market")
app.command("studio")(studio)
app.add_typer(lab, name="lab")
app.add_typer(new, name="new")
app.command("demo")(demo)
app.command("doctor")(doctor)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bottega {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="Folder of everything a run writes (or BOTTEGA_WORKSPACE).")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version and exit.")
    ] = False,
) -> None:
    if workspace is not None:
        os.environ["BOTTEGA_WORKSPACE"] = str(workspace)  # the command's own --workspace comes after, and wins


def main() -> None:
    """Run the command line; the one place where errors become one line and an exit code."""
    # No telemetry, no matter how the command was started: a run must not depend on the network.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        with disk_errors(Path.cwd()):
            app()
    except BottegaError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"bottega: {' '.join(message.split())}\n")
    sys.exit(code)
