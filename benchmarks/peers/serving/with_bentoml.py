"""BentoML with its adaptive batching: one worker."""

import shutil

from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """`bentoml serve`."""
    shutil.copy(program("bentoml_service"), place.folder)
    route = Route("rows", "/predict")
    return Server(
        place.command(
            "bentoml", "serve", "bentoml_service:Regressor", "--host", "127.0.0.1", "--port", str(place.port)
        ),
        {"json_1": route, "json_32": route},
        {
            "MODEL": str(place.model),
            "BENTOML_HOME": str(place.folder),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        can_be_held=False,
    )
