"""`mlflow models serve`: one worker, the model logged by its XGBoost flavour."""

import os
import subprocess

from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """MLflow's scoring server."""
    model = place.folder / "model"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "PYTHONPATH": "", "PYTHONSAFEPATH": ""}
    subprocess.run(
        (str(place.python), str(program("mlflow_save")), str(place.model), str(model)),
        env=dict(os.environ) | quiet,
        check=True,
        capture_output=True,
    )
    options = ("--env-manager", "local", "--workers", "1", "--host", "127.0.0.1", "--port", str(place.port))
    route = Route("inputs", "/invocations")
    return Server(
        place.command("mlflow", "models", "serve", "--model-uri", str(model), *options),
        {"json_1": route, "json_32": route},
        quiet | {"UVICORN_ACCESS_LOG": "false", "PATH": f"{place.python.parent}{os.pathsep}{os.environ['PATH']}"},
    )
