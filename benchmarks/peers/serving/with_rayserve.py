"""Ray Serve: one replica, with `@serve.batch` (64 requests, 1 ms)."""

import shutil

from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """A Ray of its own: head, proxy, controller and replica."""
    shutil.copy(program("rayserve_app"), place.folder)
    route = Route("rows", "/")
    return Server(
        (str(place.python), "rayserve_app.py"),
        {"json_1": route, "json_32": route},
        {
            "MODEL": str(place.model),
            "PORT": str(place.port),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
        },
        can_be_held=False,
    )
