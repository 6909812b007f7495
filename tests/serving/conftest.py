"""A small use case, trained and compiled for real, and a workspace that can serve two versions of it."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bottega.compile.build import build_artifact
from bottega.compile.runtime import Artifact
from bottega.features.entity import Entity
from bottega.features.online import OnlineStore
from bottega.features.plan import FeaturePlan, run_steps
from bottega.features.steps import Calendar, Columns, Function, Lookup, Model, Online, Parts, Stack
from bottega.features.tables import Table
from bottega.features.view import FeatureView
from bottega.features.windows import count, mean
from bottega.schema import Field
from bottega.serving import deployment
from bottega.serving.process import running
from bottega.times import to_epoch_us
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.trace import trace
from bottega.workspace import Workspace

ZONES = np.array([zone for zone in range(1, 31) if zone != 7])
FIRST = datetime(2024, 1, 1, 5, tzinfo=UTC)
UNTIL = datetime(2024, 2, 1, 5, tzinfo=UTC)

ZONE_TRAFFIC = FeatureView(
    "zone_traffic",
    entity=Entity("zone", keys=("pu_zone",), dtype="int32"),
    source="trips",
    event_time="dropoff_at",
    features=[mean("speed_kmh").over("1h"), count().over("1h")],
)
PLAN = FeaturePlan(
    request=(
        Field("pu_zone", "INT32", description="Zones are 1 to 30 without 7", known_in="zones"),
        Field("do_zone", "INT32", description="Zones are 1 to 30 without 7", known_in="zones"),
        Field("at", "INT64", is_time=True),
    ),
    steps=(
        Calendar("at", "America/New_York", {"hour": "hour", "weekday": "weekday"}),
        Lookup("zones", ("pu_zone",), {"pu_x": "x", "pu_y": "y"}),
        Lookup("zones", ("do_zone",), {"do_x": "x", "do_y": "y"}),
        Online("zone_traffic", ("pu_zone",), "at", {"speed": "speed_kmh_mean_1h", "trips": "count_1h"}),
        Function("distance_km", ("pu_x", "pu_y", "do_x", "do_y"), ("km",)),
        Stack(("km", "hour", "weekday", "speed", "trips"), "features"),
        Model("features", ("minutes",)),
        Function("interval", ("minutes", "km"), ("eta_min", "low_min", "high_min")),
    ),
    answer=tuple(Field(name, "FP32", unit="minutes") for name in ("eta_min", "low_min", "high_min")),
)


def distance_km(xp, pu_x, pu_y, do_x, do_y):  # type: ignore[no-untyped-def]
    """Straight distance of two points in km."""
    return xp.sqrt((pu_x - do_x) ** 2 + (pu_y - do_y) ** 2)


def interval(xp, minutes, km):  # type: ignore[no-untyped-def]
    """The answer and a band around it that grows with the distance."""
    return xp.maximum(minutes, 0.1), minutes - 1.0 - 0.2 * km, minutes + 1.0 + 0.3 * km


def blocks_km(xp, pu_x, pu_y, do_x, do_y):  # type: ignore[no-untyped-def]
    """Distance along streets at right angles in km."""
    return xp.abs(pu_x - do_x) + xp.abs(pu_y - do_y)


OTHER_PLAN = FeaturePlan(
    request=PLAN.request,
    steps=(
        Calendar("at", "America/New_York", {"minute": "minute_of_day"}),
        *PLAN.steps[1:3],
        Function("distance_km", ("pu_x", "pu_y", "do_x", "do_y"), ("km",)),
        Stack(("minute", "km"), "features"),
        *PLAN.steps[6:],
    ),
    answer=PLAN.answer,
)
"""Same request and answer as PLAN, other preprocessing: another distance, another time, nothing of the online store."""


def package(
    scale: float, plan: FeaturePlan = PLAN, zones: np.ndarray = ZONES, distance: Callable[..., Any] = distance_km
) -> ModelPackage:
    """A package whose answers are about `scale` times the minutes that a trip takes, and that knows `zones`."""
    import xgboost

    rng = np.random.default_rng(7)
    places = {"x": rng.uniform(0, 9, len(ZONES))[: len(zones)], "y": rng.uniform(0, 9, len(ZONES))[: len(zones)]}
    tables = {"zones": Table.from_keys([zones], places)}
    rows = 2000
    request = {
        "pu_zone": rng.choice(zones, rows).astype(np.int32),
        "do_zone": rng.choice(zones, rows).astype(np.int32),
        "at": rng.integers(to_epoch_us(FIRST), to_epoch_us(UNTIL), rows),
    }
    functions = {"distance_km": lambda *columns: (distance(np, *columns),)}
    no_model = Parts(tables, functions, lambda view, keys, at: {}, lambda features: features)
    speed = np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(9, 2.5, rows))
    given = {"speed": speed, "trips": rng.integers(0, 50, rows).astype(float)}
    ready = run_steps(plan.before_model(), request, no_model, given)
    late = ready["hour"] > 15 if "hour" in ready else ready["minute"] > 16 * 60
    minutes = (3 + 4 * ready["km"] + np.where(late, 6, 0) - np.nan_to_num(speed) / 10) * scale
    booster = xgboost.train(
        {"max_depth": 4, "seed": 7, "nthread": 1}, xgboost.DMatrix(ready["features"], minutes), num_boost_round=20
    )
    return ModelPackage(
        PackageInfo(
            "eta",
            "trees",
            "trees",
            plan,
            Trained(FIRST.isoformat(), UNTIL.isoformat(), rows, "made up", "none"),
            {"mae_min": 1.0},
        ),
        tables,
        bytes(booster.save_raw("ubj")),
        {"distance_km": trace("distance_km", distance, 4, 1), "interval": trace("interval", interval, 2, 3)},
        {name: column[:64] for name, column in request.items()},
        ready["features"][:256],
    )


def build(workspace: Workspace, version: int, made: ModelPackage, folder: Path) -> None:
    """Compile a package, kept in the empty `folder`, as a version of the workspace."""
    made.save(folder)
    build_artifact(
        folder,
        workspace.repository / "eta" / str(version),
        version=str(version),
        key=workspace.signing_key(),
        buckets=(1, 16),
        measure=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Versions 1 (minutes) and 2 (about ten times as many), version 1 live, and traffic in the online store."""
    workspace = Workspace.open(tmp_path_factory.mktemp("serving") / "built")
    for version, scale in ((1, 1.0), (2, 10.0)):
        build(workspace, version, package(scale), tmp_path_factory.mktemp("package"))
    rng = np.random.default_rng(8)
    trips = 3000
    at = pd.to_datetime(rng.integers(to_epoch_us(FIRST), to_epoch_us(UNTIL), trips), unit="us", utc=True)
    events = pd.DataFrame(
        {
            "pu_zone": rng.choice(ZONES, trips).astype(np.int32),
            "dropoff_at": at.as_unit("us"),
            "speed_kmh": rng.gamma(9, 2.5, trips),
        }
    )
    OnlineStore(workspace.online).ingest(ZONE_TRAFFIC, events)
    deployment.deploy(workspace, "eta", 1, "first version")
    return workspace


@pytest.fixture(scope="session")
def fresh(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workspace]:
    """Makes a copy of the built workspace for a test of its own."""

    def copy() -> Workspace:
        root = tmp_path_factory.mktemp("copy") / "w"
        shutil.copytree(built.root, root)
        return Workspace.open(root)

    return copy


@pytest.fixture(scope="session")
def built_more(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """As `built`, with three more versions: 3 is 1 again without its last three zones, which is a fifth of the
    requests; 4 is about 1 with other preprocessing; 5 is 1 again, healthy.
    """
    root = tmp_path_factory.mktemp("more") / "w"
    shutil.copytree(built.root, root)
    workspace = Workspace.open(root)
    for version, made in (
        (3, package(1.0, zones=ZONES[:-3])),
        (4, package(1.0, OTHER_PLAN, distance=blocks_km)),
        (5, package(1.0)),
    ):
        build(workspace, version, made, tmp_path_factory.mktemp("package"))
    return workspace


@pytest.fixture
def more(built_more: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the workspace with five versions, for a test of its own."""
    shutil.copytree(built_more.root, tmp_path / "more")
    return Workspace.open(tmp_path / "more")


@pytest.fixture(scope="session")
def served(fresh: Callable[[], Workspace]) -> Iterator[tuple[Workspace, str]]:
    """A workspace and the address of a server that runs for it, for tests that only ask."""
    workspace = fresh()
    with running(workspace) as address:
        yield workspace, address.url


@pytest.fixture(scope="session")
def load() -> Callable[[Workspace, int], Artifact]:
    """Loads an artefact as the server does, to call it directly."""

    def load(workspace: Workspace, version: int) -> Artifact:
        read_online = OnlineStore(workspace.online).read
        return Artifact.load(workspace.repository / "eta" / str(version), workspace.signing_key(), read_online)

    return load


@pytest.fixture(scope="session")
def some_rows() -> Callable[[int], Columns]:
    """Makes that many valid rows, as request columns."""

    def rows(number: int) -> Columns:
        rng = np.random.default_rng(number)
        return {
            "pu_zone": rng.choice(ZONES, number).astype(np.int32),
            "do_zone": rng.choice(ZONES, number).astype(np.int32),
            "at": rng.integers(to_epoch_us(FIRST), to_epoch_us(UNTIL), number),
        }

    return rows


@pytest.fixture(scope="session")
def make_package() -> Callable[[Path], None]:
    """Saves the package of version 1 in a new folder."""

    def save(folder: Path) -> None:
        folder.mkdir()
        package(1.0).save(folder)

    return save
