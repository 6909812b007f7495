"""The limit: uvicorn with httptools and uvloop, as Bottega's server has them, and an application that computes nothing.

It reads the request's body and answers with fixed bytes, in the shape of an answer to one row.
"""

import shutil
import sys

from peers.serving.server import Place, Route, Server, ours, program


def server(place: Place) -> Server:
    """One uvicorn process."""
    shutil.copy(program("constant_app"), place.folder)
    options = ("--host", "127.0.0.1", "--port", str(place.port), "--no-access-log", "--log-level", "warning")
    fast = ("--http", "httptools", "--loop", "uvloop", "--lifespan", "off", "--no-server-header", "--no-date-header")
    command = (sys.executable, "-m", "uvicorn", "--app-dir", ".", "constant_app:app", *options, *fast)
    return Server(command, {"json_1": Route("v2", "/v2/models/constant/infer")}, ours(), computes=False)
