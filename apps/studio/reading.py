"""Reads of the workspace for the page, kept for a moment so that a live picture costs little."""

from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import streamlit as st

from bottega.compile.manifest import Manifest, read_manifest
from bottega.datasets.origin import Origin, resolve, zones_for
from bottega.datasets.zones import load_bridges, load_zone_shapes, load_zones
from bottega.errors import InvalidData
from bottega.monitoring.alerts import Alert, read_alerts
from bottega.monitoring.report import Summary, load_report
from bottega.registry import ModelVersion, Registry
from bottega.serving import deployment
from bottega.serving.client import Client, Status
from bottega.settings import Settings, load_settings
from bottega.training.package import PackageInfo
from bottega.workspace import Workspace

TIMEOUT_S = 3.0


def open_workspace() -> tuple[Settings, Workspace]:
    """The settings and the workspace that BOTTEGA_WORKSPACE names. Raises what the platform raises."""
    settings = load_settings()
    return settings, Workspace.open(settings.workspace, settings.online)


def deployments(workspace: Workspace) -> deployment.Deployments:
    """What is live, and how it became so."""
    return deployment.read(workspace)


def versions(workspace: Workspace, usecase: str) -> tuple[ModelVersion, ...]:
    """Registered versions, oldest first; none where nothing was ever trained."""
    if not workspace.registry.is_dir():
        return ()
    return _versions(str(workspace.root), usecase, _stamp(workspace.registry))


@st.cache_data(ttl=20, max_entries=4, show_spinner=False)
def _versions(root: str, usecase: str, stamp: int) -> tuple[ModelVersion, ...]:
    return tuple(sorted(Registry(Workspace(Path(root))).versions(usecase), key=lambda found: found.version))


@st.cache_data(max_entries=16, show_spinner=False)
def package_info(folder: Path) -> PackageInfo:
    """What training says about a version; a version never changes."""
    return msgspec.json.decode((folder / "package.json").read_bytes(), type=PackageInfo)


def compiled(workspace: Workspace, usecase: str, version: int) -> Manifest | None:
    """The manifest of a compiled version, its signature and files checked; None where there is none."""
    if version not in deployment.versions(workspace, usecase):
        return None
    return _compiled(str(workspace.root), usecase, version)


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def _compiled(root: str, usecase: str, version: int) -> Manifest:
    workspace = Workspace(Path(root))
    return read_manifest(workspace.repository / usecase / str(version), workspace.signing_key())


def status(workspace: Workspace) -> Status:
    """What the running server says. Raises Unavailable where none runs."""
    with Client.from_workspace(workspace, TIMEOUT_S) as client:
        return client.status()


def alerts(workspace: Workspace, usecase: str) -> tuple[Alert, ...]:
    """Every alert, oldest first."""
    return read_alerts(workspace, usecase)


def watched(workspace: Workspace, usecase: str) -> Summary:
    """The figures of the latest look at the live model. Raises NotFound where there was none."""
    return load_report(workspace, usecase)[0]


def demo_report(workspace: Workspace) -> dict[str, Any] | None:
    """What the demo found; None where it never ended here."""
    path = workspace.demo / "report.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is damaged: {error}.", next_step="Run 'bottega demo' again.") from None


def data_source(workspace: Workspace, settings: Settings, usecase: str) -> str:
    """Where training would read the use case's data from here."""
    from usecases import find

    return resolve(find(usecase).dataset, workspace, settings).label


def zones(workspace: Workspace, settings: Settings, source: str) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Zones, their shapes and bridges, of the city that trips of this `source` are from."""
    trips = Origin("simulator") if source.startswith("simulator") else Path(source)
    return _zones(zones_for(trips, workspace, settings))


@st.cache_data(max_entries=4, show_spinner=False)
def _zones(origin: Origin) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    nothing: dict[str, Any] = {"type": "FeatureCollection", "features": []}
    return load_zones(origin), load_zone_shapes(origin), load_bridges() if origin.kind == "simulator" else nothing


def _stamp(folder: Path) -> int:
    """The newest change of the files directly in a folder, ns."""
    return max((path.stat().st_mtime_ns for path in folder.iterdir()), default=0)
