"""Shared by the use case tests: the contract checks, and a training run of each use case on the invented data."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bottega.datasets.reading import Gathered, Sources
from bottega.datasets.simulator import SIMULATOR_START
from bottega.pipeline.sources import gather
from bottega.settings import Settings
from bottega.times import to_epoch_us
from bottega.training.outcome import Outcome
from bottega.workspace import Workspace
from usecases import find


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
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Gathered]:
    """The invented data of a use case's trial span, read once a session."""
    workspace = Workspace.open(tmp_path_factory.mktemp("usecases") / "w")
    done: dict[str, Gathered] = {}

    def go(name: str) -> Gathered:
        if name not in done:
            usecase = find(name)
            until = SIMULATOR_START + usecase.trial
            done[name] = gather(usecase, workspace, Settings(), SIMULATOR_START, until)
        return done[name]

    return go


@pytest.fixture(scope="session")
def sources(gathered: Callable[[str], Gathered]) -> Sources:
    """The sources of ETA."""
    return gathered("eta").sources


@pytest.fixture(scope="session")
def span(gathered: Callable[[str], Gathered]) -> tuple[int, int]:
    """The span of ETA's, epoch_us."""
    since, until = gathered("eta").span
    return to_epoch_us(since), to_epoch_us(until)


@pytest.fixture(scope="session")
def run(checks: ModuleType, gathered: Callable[[str], Gathered]) -> Callable[[str], Outcome]:
    """Train a use case's small models, once a session."""
    done: dict[str, Outcome] = {}

    def go(name: str) -> Outcome:
        if name not in done:
            done[name] = checks.train_small(find(name), gathered(name))
        return done[name]

    return go
