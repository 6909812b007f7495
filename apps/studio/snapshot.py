"""A snapshot of the workspace: everything that the picture of the loop shows, read at one moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bottega.compile.manifest import Manifest
from bottega.errors import BottegaError, NotFound, Unavailable
from bottega.monitoring.alerts import Alert
from bottega.monitoring.report import Summary
from bottega.registry import CHAMPION, ModelVersion
from bottega.serving.client import Status
from bottega.settings import Settings
from bottega.training.package import PackageInfo
from bottega.workspace import Workspace
from studio import reading

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """What the workspace holds at one moment; `problems` says by stage what the platform could not read."""

    usecase: str
    data_source: str = ""
    versions: tuple[ModelVersion, ...] = ()
    info: PackageInfo | None = None
    """Of the live version, or of the champion where nothing is live."""
    live: int | None = None
    manifest: Manifest | None = None
    status: Status | None = None
    summary: Summary | None = None
    alerts: tuple[Alert, ...] = ()
    report: Mapping[str, Any] | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def champion(self) -> ModelVersion | None:
        """The registry's champion."""
        return next((found for found in self.versions if CHAMPION in found.aliases), None)

    @property
    def open_alerts(self) -> tuple[Alert, ...]:
        """Alerts that no promotion has ended."""
        return tuple(alert for alert in self.alerts if alert.status != "resolved")


def take_snapshot(settings: Settings, workspace: Workspace, usecase: str) -> Snapshot:
    """Read everything; what the platform cannot read becomes the problem of the stage that it belongs to."""
    problems: dict[str, str] = {}

    def read(stage: str, source: Callable[[], T], default: T) -> T:
        try:
            return source()
        except (NotFound, Unavailable):
            return default
        except BottegaError as error:
            problems[stage] = str(error)
            return default

    live = read("Serving", lambda: reading.deployments(workspace).live.get(usecase), None)
    version = None if live is None else live.champion
    nothing: tuple[ModelVersion, ...] = ()
    versions = read("Registry", lambda: reading.versions(workspace, usecase), nothing)
    champion = next((v for v in versions if CHAMPION in v.aliases), None)
    shown = next((v for v in versions if v.version == version), champion)
    answering = version or (None if champion is None else champion.version)
    return Snapshot(
        usecase,
        data_source=read("Data", lambda: reading.data_source(workspace, settings, usecase), ""),
        versions=versions,
        info=None if shown is None else reading.package_info(shown.folder),
        live=version,
        manifest=None
        if answering is None
        else read("Compile", lambda: reading.compiled(workspace, usecase, answering), None),
        status=read("Serving", lambda: reading.status(workspace), None),
        summary=read("Monitoring", lambda: reading.watched(workspace, usecase), None),
        alerts=read("Monitoring", lambda: reading.alerts(workspace, usecase), ()),
        report=read("Retrain", lambda: reading.demo_report(workspace), None),
        problems=problems,
    )
