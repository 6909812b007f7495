from datetime import UTC, datetime
from pathlib import Path

import pytest

from bottega.compile.manifest import Bucket, Manifest, Parity, Trained
from bottega.compile.target import host
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Model, Online, Stack
from bottega.monitoring.alerts import Alert, Evidence
from bottega.monitoring.detection import Detection
from bottega.registry import ModelVersion
from bottega.serving.deployments import RoleStatus
from bottega.serving.status import Status, UseCaseStatus
from bottega.training.package import PackageInfo
from bottega.training.package import Trained as TrainedOn
from studio.snapshot import Snapshot
from studio.stages import Stage, stages

NAMES = ["Data", "Features", "Training", "Registry", "Compile", "Serving", "Monitoring", "Retrain"]
NOW = datetime(2024, 3, 20, 13, tzinfo=UTC)
PLAN = FeaturePlan(
    (),
    (
        Online("traffic", ("pu_zone",), "at", {"a": "speed", "b": "count"}),
        Stack(("a", "b", "pu_zone"), "x"),
        Model("x", ("y",)),
    ),
    (),
)


def by_name(snapshot: Snapshot) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages(snapshot)}


def version(number: int, *aliases: str) -> ModelVersion:
    return ModelVersion("eta", number, Path("p"), aliases, {}, {}, "run", NOW)


def alert(status: str = "open", resolved_by: int | None = None) -> Alert:
    detection = Detection("cusum", NOW, NOW, "below", 41.0, 40.0, -0.2)
    evidence = Evidence(3.5, 4.9, 2.0, 1234, -0.2)
    return Alert("eta-1", "eta", 1, status, NOW, detection, evidence, "why", "do this", resolved_by=resolved_by)  # type: ignore[arg-type]


def test_an_empty_workspace_has_eight_stages_that_say_how_to_fill_them() -> None:
    found = stages(Snapshot("eta", data_source="simulator:city_simulator"))
    assert [stage.name for stage in found] == NAMES
    assert {stage.state for stage in found} == {"empty"}
    commands = {stage.name: stage.command for stage in found}
    assert commands.pop("Retrain") == ""
    assert all(command.startswith("bottega ") for command in commands.values())


def test_training_data_and_features_are_those_of_the_package() -> None:
    trained = TrainedOn("2024-02-08T05:00:00+00:00", "2024-03-07T05:00:00+00:00", 98_765, "simulator:city", "f")
    info = PackageInfo("eta", "boosting", "trees", PLAN, trained, {"mae_min": 3.0, "baseline_mae_min": 4.0})
    found = by_name(Snapshot("eta", info=info))
    assert found["Data"] == Stage("Data", "fine", "98,765 rows", "simulator:city, 8 Feb to 6 Mar 2024")
    assert (found["Features"].figure, found["Features"].detail) == ("3 inputs", "2 read online, from traffic")
    assert found["Training"].figure == "MAE 3.00 min"
    assert "25% under the baseline's 4.00" in found["Training"].detail


def test_the_registry_names_champion_and_challenger() -> None:
    found = by_name(Snapshot("eta", versions=(version(1), version(2, "champion"), version(3, "challenger"))))
    assert (found["Registry"].figure, found["Registry"].detail) == ("Champion 2", "3 versions, challenger 3")
    assert by_name(Snapshot("eta", versions=(version(1),)))["Registry"].state == "empty"


@pytest.mark.parametrize(
    ("speedups", "error", "figure", "detail"),
    [
        ((1.6, 11.5, 0.0), 0.0, "1.6 to 11.5 × ONNX Runtime", "bit-equal to XGBoost, version 2"),
        ((2.0, 2.0), 3.2e-7, "2.0 × ONNX Runtime", "within 3e-07 of XGBoost, version 2"),
        ((0.0,), 0.0, "not measured", "bit-equal to XGBoost, version 2"),
    ],
)
def test_compile_says_what_the_manifest_says(
    speedups: tuple[float, ...], error: float, figure: str, detail: str
) -> None:
    engines = tuple(Bucket(4**i, "tvm", "f", speedup=speedup) for i, speedup in enumerate(speedups))
    trained = Trained("2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00", 1, "s", "f")
    parity = Parity(error, 100, "XGBoost")
    manifest = Manifest("eta", "boosting", "2", "trees", PLAN, (), (), trained, {}, host(), engines, parity, {})
    found = by_name(Snapshot("eta", manifest=manifest))["Compile"]
    assert (found.state, found.figure, found.detail) == ("fine", figure, detail)


def status(
    failures: dict[str, str], stage: dict[str, float] | None = None, roles: tuple[RoleStatus, ...] = ()
) -> Status:
    usecase = UseCaseStatus(2, 1234, 5678, 0, {"total": stage or {"count": 0}}, list(roles))
    return Status(1, "now", 1.0, not failures, {"eta": usecase}, failures, {})


def test_serving_tells_no_server_from_nothing_deployed_and_from_a_failed_swap() -> None:
    assert by_name(Snapshot("eta"))["Serving"].command == "bottega deploy eta@champion"
    stopped = by_name(Snapshot("eta", live=2))["Serving"]
    assert (stopped.state, stopped.command) == ("empty", "bottega serve")
    fast = by_name(Snapshot("eta", live=2, status=status({}, {"count": 9, "p50_us": 412.0, "p99_us": 12_345.0})))
    assert fast["Serving"].figure == "p50 0.41 ms, p99 12.3 ms"
    assert fast["Serving"].detail == "version 2, 1,234 requests, 5,678 rows"
    roles = (RoleStatus("champion", 2, 0.9), RoleStatus("canary", 3, 0.1), RoleStatus("shadow", 4, 0.0))
    tried = by_name(Snapshot("eta", live=2, status=status({}, {"count": 9, "p50_us": 4.0, "p99_us": 5.0}, roles)))
    assert tried["Serving"].detail.endswith("rows; canary: version 3, 0.1 of the requests; shadow: version 4")
    failed = by_name(Snapshot("eta", live=3, status=status({"eta": "version 3: refused"})))["Serving"]
    assert (failed.state, failed.figure, failed.detail) == ("alarm", "version 2 stays", "version 3: refused")


def test_an_open_alert_colours_monitoring_and_asks_for_a_retraining() -> None:
    found = by_name(Snapshot("eta", alerts=(alert(),)))
    assert (found["Monitoring"].state, found["Monitoring"].figure) == ("alarm", "MAE 3.50 → 4.90 min")
    assert found["Monitoring"].detail == "drift not measured, 1 open alert"
    assert (found["Retrain"].state, found["Retrain"].command) == ("alarm", "do this")
    assert found["Retrain"].detail == "since 20 Mar 2024 09:00"


def test_an_ended_alert_shows_the_versions_before_and_after() -> None:
    ended = (alert("resolved", resolved_by=3),)
    assert by_name(Snapshot("eta", alerts=ended))["Retrain"].figure == "version 1 → 3"
    report = {"incident": {"mae_during": 4.9, "mae_after_retrain": 3.8}}
    assert by_name(Snapshot("eta", alerts=ended, report=report))["Retrain"].detail == "MAE 4.90 → 3.80 min"


def test_a_problem_of_the_platform_is_its_stages_alarm() -> None:
    found = by_name(Snapshot("eta", problems={"Compile": "The artefact is refused."}))
    assert (found["Compile"].state, found["Compile"].detail) == ("alarm", "The artefact is refused.")
    assert found["Serving"].state == "empty"
