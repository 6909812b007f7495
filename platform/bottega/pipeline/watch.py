"""Watch: the live version judged by the labels that have arrived, and the look kept for the Studio."""

from datetime import datetime, timedelta

from bottega.errors import NotFound
from bottega.monitoring.drift import Drift, drift_report
from bottega.monitoring.labels import read_labels
from bottega.monitoring.reference import load_reference
from bottega.monitoring.report import Summary, save_report, summary
from bottega.monitoring.watch import watch
from bottega.progress import Progress, silent
from bottega.serving import deployment
from bottega.serving.log import read_predictions
from bottega.usecase import UseCase
from bottega.workspace import Workspace


def live_version(workspace: Workspace, usecase: str) -> int:
    """The version that is live; NotFound where none is."""
    live = deployment.read(workspace).live.get(usecase)
    if live is None:
        raise NotFound(f"No version of {usecase} is live.", next_step=f"Run 'bottega deploy {usecase}@champion'.")
    return live.champion


def watch_live(
    usecase: UseCase,
    workspace: Workspace,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    with_drift: bool = True,
    incident_at: datetime | None = None,
    now: datetime | None = None,
    progress: Progress = silent,
) -> Summary:
    """Judge the live version over the requests of [since, until), and keep the look in the workspace.

    Without `since` from its first request on; without `until` up to the last label. `now` stamps an alert (None: the
    machine's clock). Raises NotFound where nothing is live, or nothing was asked.
    """
    version = live_version(workspace, usecase.name)
    if since is None or until is None:
        first, last = _span(workspace, usecase.name, version)
        since, until = since or first, until or last
    reference = load_reference(workspace, usecase.name, version)
    found = watch(
        workspace,
        usecase.name,
        usecase.monitor,
        reference,
        since,
        until,
        with_drift=with_drift,
        incident_at=incident_at,
        now=now,
        progress=progress,
    )
    save_report(workspace, found)
    return summary(found)


def drift_since_training(usecase: UseCase, workspace: Workspace, version: int, until: datetime) -> Drift:
    """How far the newest week of requests before `until` is from what a version was trained on, whichever is live now.

    Raises InvalidInput where there are too few requests.
    """
    since = until - timedelta(seconds=usecase.monitor.drift_window_s)
    asked = read_predictions(workspace, usecase.name, since, until).drop_duplicates("request_id", keep="last")
    folder = workspace.monitoring / usecase.name / "drift"
    rows = load_reference(workspace, usecase.name, version).rows
    return drift_report(rows, asked, usecase.monitor, folder, f"since_version_{version}")


def _span(workspace: Workspace, usecase: str, version: int) -> tuple[datetime, datetime]:
    """From the version's first request until all that it was asked, and every label of it, is in."""
    asked = read_predictions(workspace, usecase)
    own = asked[asked["model_version"] == version] if len(asked) else asked
    if own.empty:
        raise NotFound(
            f"Version {version} of {usecase} was not asked yet.",
            next_step=f"Run 'bottega predict {usecase} ...' or 'bottega monitor replay {usecase} ...'.",
        )
    labels = read_labels(workspace, usecase)
    last = own["at"].max() if labels.empty else max(own["at"].max(), labels["label_at"].max())
    return own["at"].min().to_pydatetime(), last.to_pydatetime() + timedelta(seconds=1)
