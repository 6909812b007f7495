"""Release: from a registered version to an artefact, and from an artefact to what is live."""

import time
from collections.abc import Sequence
from pathlib import Path

from bottega.compile.build import build_artifact
from bottega.compile.explain import explain
from bottega.compile.manifest import MANIFEST, Manifest, read_manifest
from bottega.compile.order import BUCKETS
from bottega.compile.quantise import BOUND
from bottega.compile.schedule import Scheduler, schedule
from bottega.compile.target import Target
from bottega.compile.tune import Tuner
from bottega.errors import Conflict, NotFound, Unavailable
from bottega.progress import Progress, silent
from bottega.registry import ModelVersion, Registry
from bottega.serving import deployment
from bottega.serving.address import read_server
from bottega.serving.client import Client
from bottega.workspace import Workspace


def compile_version(
    workspace: Workspace,
    reference: str,
    buckets: Sequence[int] = BUCKETS,
    progress: Progress = silent,
    *,
    out: Path | None = None,
    target: Target | None = None,
    int8: bool = False,
    bound: float = BOUND,
    trials: int = 0,
) -> Manifest:
    """Compile a registered version (`eta@champion`, `eta/3`) into `out`, or into the workspace's repository, or read
    what is there. Only what is in the repository can be deployed.

    With `int8` a network is quantised, at a loss of at most `bound` of its metric; `trials` is what a search may spend
    on each heavy kernel. Raises NotFound for an unknown reference, Conflict where the repository holds the version
    without what is asked, GateFailed where int8 costs more, IntegrityError where the compiled module disagrees with its
    reference.
    """
    found = Registry(workspace).get(reference)
    folder = out or workspace.repository / found.name / str(found.version)
    if out is None and (folder / MANIFEST).exists():
        if int8 or trials:
            raise Conflict(f"{folder} exists.", next_step="Name another folder with --out, or register a new version.")
        return read_manifest(folder, workspace.signing_key())
    return build_artifact(
        found.folder,
        folder,
        version=str(found.version),
        key=workspace.signing_key(),
        buckets=buckets,
        target=target,
        int8=int8,
        bound=bound,
        scheduler=scheduler_for(workspace, trials, progress),
        progress=progress,
    )


def scheduler_for(workspace: Workspace, trials: int, progress: Progress) -> Scheduler:
    """The rules, or with `trials` a tuner that keeps what it finds in the workspace."""
    return Tuner(workspace.tuning, trials, progress=progress) if trials else schedule


def deploy_version(
    workspace: Workspace,
    reference: str,
    reason: str,
    role: deployment.Role = "champion",
    share: float = 0.1,
    limits: deployment.Limits = deployment.LIMITS,
) -> deployment.Change:
    """Make a compiled version the champion, the canary with a `share` of the requests and held to `limits`, or the
    shadow.

    A running server is waited for until the version stands there. Raises NotFound where it is not compiled, Unavailable
    where the server does not take it.
    """
    found = Registry(workspace).get(reference)
    _check_compiled(workspace, found)
    match role:
        case "champion":
            change = deployment.deploy(workspace, found.name, found.version, reason)
        case "canary":
            change = deployment.try_canary(workspace, found.name, found.version, share, reason, limits=limits)
        case "shadow":
            change = deployment.try_shadow(workspace, found.name, found.version, reason)
    wait_until_live(workspace, found.name, found.version, role)
    return change


def wait_until_live(
    workspace: Workspace, usecase: str, version: int, role: deployment.Role = "champion", timeout_s: float = 20.0
) -> bool:
    """Wait until a version stands in its role in the running server; False where no server runs."""
    if read_server(workspace) is None:
        return False
    deadline = time.monotonic() + timeout_s
    with Client.from_workspace(workspace) as client:
        while time.monotonic() < deadline:
            status = client.status()
            live = status.usecases.get(usecase)
            found = None if live is None else live.role(role)
            if found is not None and found.version == version:
                return True
            if usecase in status.failures:
                raise Unavailable(f"The server goes on with what it had of {usecase}: {status.failures[usecase]}")
            time.sleep(0.05)
    raise Unavailable(
        f"The server did not make version {version} the {role} of {usecase} in {timeout_s:g} s.",
        next_step="See 'bottega deploy status'.",
    )


def _check_compiled(workspace: Workspace, found: ModelVersion) -> None:
    if found.version not in deployment.versions(workspace, found.name):
        raise NotFound(
            f"{found.name} version {found.version} is not compiled.",
            next_step=f"Run 'bottega compile {found.name}/{found.version}' first.",
        )


def explain_version(workspace: Workspace, reference: str, batch: int, target: Target | None = None) -> dict[str, str]:
    """The code of a version's model at each stage of compiling for batches of `batch` rows, by stage."""
    return explain(Registry(workspace).get(reference).folder, batch, target)
