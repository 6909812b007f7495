"""FastAPI as its tutorial has it: a typed body, a typed answer, XGBoost called in the handler; uvicorn with uvloop."""

import shutil

from peers.serving.server import Place, Route, Server, program


def server(place: Place) -> Server:
    """One uvicorn process."""
    shutil.copy(program("fastapi_app"), place.folder)
    options = ("--host", "127.0.0.1", "--port", str(place.port), "--no-access-log", "--log-level", "warning")
    route = Route("rows", "/predict")
    return Server(
        place.command("uvicorn", "fastapi_app:app", *options),
        {"json_1": route, "json_32": route},
        {"MODEL": str(place.model)},
    )
