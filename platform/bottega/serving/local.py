"""A use case's version in this process, without a server."""

from bottega.compile.manifest import read_manifest
from bottega.errors import NotFound
from bottega.features.plan import FeaturePlan
from bottega.serving import deployments
from bottega.serving.endpoint import Endpoint
from bottega.serving.live import Services, open_online
from bottega.serving.metrics import Metrics
from bottega.serving.protocol import check_name
from bottega.workspace import Workspace


def open_endpoint(workspace: Workspace, usecase: str, version: int | None = None) -> Endpoint:
    """The champion of a use case or, where one is named, any compiled version, loaded and warm.

    Raises NotFound where there is none, IntegrityError where the artefact is not what was signed.
    """
    version = champion(workspace, usecase) if version is None else version
    compiled = deployments.versions(workspace, usecase)
    if version not in compiled:
        raise NotFound(
            f"{usecase} has no compiled version {version}.",
            next_step=f"Compiled: {', '.join(map(str, compiled)) or 'none'}.",
        )
    folder = workspace.repository / usecase / str(version)
    key = workspace.signing_key()
    return Endpoint.load(folder, usecase, version, key, open_online(workspace), Services(), Metrics())


def champion(workspace: Workspace, usecase: str) -> int:
    """The version of a use case that is live. Raises NotFound where none is."""
    live = deployments.read(workspace).live
    if check_name(usecase, "use case") not in live:
        raise NotFound(f"No version of {usecase!r} is live.", next_step=f"Live: {', '.join(live) or 'none'}.")
    return live[usecase].champion


def read_plan(workspace: Workspace, usecase: str) -> FeaturePlan:
    """The feature plan of a use case's champion, without loading its model."""
    folder = workspace.repository / usecase / str(champion(workspace, usecase))
    return read_manifest(folder, workspace.signing_key()).of_usecase()[0]
