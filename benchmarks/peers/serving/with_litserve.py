"""LitServe with its batching (64 rows, 1 ms): one worker."""

import shutil

from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """LitServe's server and its worker."""
    shutil.copy(program("litserve_server"), place.folder)
    route = Route("rows", "/predict")
    return Server(
        (str(place.python), "litserve_server.py"),
        {"json_1": route, "json_32": route},
        {"MODEL": str(place.model), "PORT": str(place.port)},
    )
