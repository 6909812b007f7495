import dataclasses

import pytest

from bottega.pipeline.release import compile_version, deploy_version
from bottega.pipeline.train import Options, train
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.training.boosting import BoostingSettings
from bottega.usecase import UseCase
from bottega.workspace import Workspace
from usecases import find


def day(text: str):
    return parse_time(text, CITY_TIMEZONE)


@pytest.fixture(scope="session")
def usecase() -> UseCase:
    """ETA with its boosted trees alone, in a size that learns in seconds."""
    eta = find("eta")
    spec = next(spec for spec in eta.recipe.models if isinstance(spec.settings, BoostingSettings))
    small = dataclasses.replace(spec.settings, rounds=60, patience=10, learning_rate=0.2)
    return dataclasses.replace(
        eta, recipe=dataclasses.replace(eta.recipe, models=(dataclasses.replace(spec, settings=small),))
    )


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def live(tmp_path_factory, usecase, settings) -> Workspace:
    """A workspace whose champion learned ten quiet simulated days, compiled and deployed."""
    workspace = Workspace.open(tmp_path_factory.mktemp("pipeline") / "workspace")
    report = train(usecase, workspace, settings, day("2024-02-25"), day("2024-03-06"), Options(threads=1))
    compile_version(workspace, f"eta/{report.model_version}")
    deploy_version(workspace, "eta@champion", "for the tests")
    return workspace
