"""A load trial: how fast what is live answers, on a server of its own whose log is thrown away.

Trial requests have no labels and repeat themselves; in the workspace's own log they would look like drift.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bottega.serving.client import Client
from bottega.serving.load import Load, measure
from bottega.serving.process import running
from bottega.workspace import Workspace

CONNECTIONS = (1, 16)


class Trial(msgspec.Struct, frozen=True):
    """What clients saw with one connection, and with sixteen."""

    alone: Load
    busy: Load


def try_load(workspace: Workspace, usecase: str, bodies: Sequence[bytes], seconds: float = 4.0) -> Trial:
    """Drive the use case's endpoint with `bodies` in turn, `seconds` for each number of connections."""
    path = f"/v1/{usecase}/predict"
    with _twin(workspace) as twin, running(twin), Client.from_workspace(twin) as client:
        loads = [measure(client.url, path, bodies, connections=n, seconds=seconds) for n in CONNECTIONS]
    return Trial(*loads)


@contextlib.contextmanager
def _twin(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with the same artefacts, deployments and features, and a log of its own."""
    with tempfile.TemporaryDirectory(prefix="bottega-trial-") as folder:
        twin = Workspace.open(Path(folder), workspace.online_address)
        workspace.signing_key()
        for name in (workspace.deployments.name, "signing.key"):
            shutil.copy(workspace.root / name, twin.root / name)
        for path in (workspace.repository, workspace.root / "online"):
            if path.exists():
                (twin.root / path.name).symlink_to(path, target_is_directory=True)
        yield twin
