"""Where a workspace's server answers: the file it leaves, and whether it still speaks the truth."""

import os
import socket
from datetime import datetime

import msgspec

from bottega.errors import Unavailable
from bottega.workspace import Workspace

TOKEN_VARIABLE = "BOTTEGA_TOKEN"
"""The environment variable that holds the token of server and clients."""

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Address(msgspec.Struct, frozen=True):
    """Content of the workspace's `server.json`."""

    pid: int
    host: str
    port: int
    started_at: datetime
    grpc_port: int | None = None

    @property
    def url(self) -> str:
        """The server's address, as a client on this machine uses it."""
        host = _ANY.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def read_server(workspace: Workspace) -> Address | None:
    """The server that runs for this workspace; None where none does, a file left by a dead process included."""
    address = read_file(workspace)
    return address if address is not None and _lives(address) else None


def read_file(workspace: Workspace) -> Address | None:
    """What `server.json` says, whether true or not; None where there is no such file, or only half of one."""
    try:
        return msgspec.json.decode(workspace.server.read_bytes(), type=Address)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _lives(address: Address) -> bool:
    """Whether the process lives and its port takes connections: a dead server's pid may be another's by now."""
    try:
        os.kill(address.pid, 0)
        with socket.create_connection((_ANY.get(address.host, address.host), address.port), timeout=2):
            return True
    except OSError:
        return False


def withdraw(workspace: Workspace) -> None:
    """Take back what this process said in `server.json`."""
    address = read_file(workspace)
    if address is not None and address.pid == os.getpid():
        workspace.server.unlink(missing_ok=True)


def bind(host: str, port: int, shared: bool = False, listen: bool = True) -> socket.socket:
    """A listening socket, `shared` with others of the same port. Raises Unavailable where the port cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        if listen:
            listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(
            f"Cannot serve on {host}, port {port}: {reason}.",
            next_step="Choose another port with --port, or stop the process that uses it.",
        ) from None
    return listener
