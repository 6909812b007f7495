"""Shared by the use case tests: the contract checks, and a training run of each use case on the simulated city."""

import importlib.util
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from bottega.datasets.origin import Origin as DataOrigin
from bottega.datasets.reading import Sources
from bottega.datasets.simulator import SIMULATOR_START
from bottega.datasets.trips import load_trips
from bottega.datasets.zones import load_zones
from bottega.settings import Settings
from bottega.times import to_epoch_us
from bottega.training.outcome import Origin, Outcome
from bottega.training.settings import Effort
from bottega.training.trainer import train
from bottega.workspace import Workspace
from usecases import find

DAYS = 5
SINCE = SIMULATOR_START + timedelta(days=7)


@pytest.fixture(scope="session")
def checks() -> ModuleType:
    """tests/checks.py, which no import path reaches: a root folder on it would shadow packages."""
    spec = importlib.util.spec_from_file_location("checks", Path(__file__).parents[1] / "checks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["checks"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    city = DataOrigin("simulator", None)
    workspace = Workspace.open(tmp_path_factory.mktemp("usecases") / "w")
    loaded = load_trips(city, workspace, Settings(), SINCE, SINCE + timedelta(days=DAYS))
    return {"trips": loaded.table, "zones": load_zones(city)}


@pytest.fixture(scope="session")
def span() -> tuple[int, int]:
    return to_epoch_us(SINCE), to_epoch_us(SINCE + timedelta(days=DAYS))


@pytest.fixture(scope="session")
def run(checks: ModuleType, sources: Sources, span: tuple[int, int]) -> Callable[[str], Outcome]:
    """Train a use case's small models, once a session."""
    done: dict[str, Outcome] = {}

    def go(name: str) -> Outcome:
        if name not in done:
            origin, effort = Origin("simulator", "f"), Effort(seed=5, threads=1)
            done[name] = train(name, checks.small_models(find(name)), sources, *span, origin, effort=effort)
        return done[name]

    return go
