"""MLServer: its inference in its own process (no parallel workers, which is its fastest form here), and its gRPC."""

import json
import shutil

from peers.serving.forms import MODEL
from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """`mlserver start` with a runtime that decodes by its numpy codec and calls XGBoost."""
    shutil.copy(program("mlserver_runtime"), place.folder)
    settings = {
        "host": "127.0.0.1",
        "http_port": place.port,
        "grpc_port": place.grpc_port,
        "metrics_port": place.metrics_port,
        "parallel_workers": 0,
        "debug": False,
        "logging_settings": {"version": 1, "disable_existing_loggers": True},
    }
    model = {
        "name": MODEL,
        "implementation": "mlserver_runtime.Regressor",
        "parameters": {"uri": str(place.model), "version": "1"},
    }
    (place.folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    (place.folder / "model-settings.json").write_text(json.dumps(model), "utf-8")
    route = Route("v2", f"/v2/models/{MODEL}/infer")
    return Server(
        place.command("mlserver", "start", "."),
        {"json_1": route, "json_32": route, "grpc_1": Route("grpc")},
    )
