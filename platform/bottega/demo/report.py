"""The demo's report: the figures of all stages in one small file, and the table at the end."""

from typing import Any

import msgspec

from bottega.demo.scenario import Scenario

Figures = dict[str, Any]


class TrainedSpan(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """What the first champion was trained on."""

    since: str
    until: str
    rows: int


class Eta(msgspec.Struct, frozen=True):
    """Error of the first champion and of the baseline on the held-back period, in minutes."""

    mae_min: float
    baseline_mae_min: float


class Compiled(msgspec.Struct, frozen=True):
    """The champion's native code: ratio of times at batch 1 (above 1: faster), and the largest relative error."""

    speedup_vs_onnxruntime: float
    max_rel_error: float


class Served(msgspec.Struct, frozen=True):
    """Latency at one connection, answers a second at sixteen."""

    p50_ms: float
    p99_ms: float
    rps: float


class IncidentFigures(msgspec.Struct, frozen=True):
    """The incident: hours from its true start to the alarm, and the error before, during, and after retraining."""

    name: str | None
    alarm_after_h: float | None
    mae_before: float | None
    mae_during: float | None
    mae_after_retrain: float | None
    drift_before: str | None = None
    drift_after: str | None = None
    alarms: int = 0


class Versions(msgspec.Struct, frozen=True):
    """The live model version before and after."""

    before: int
    after: int


class Report(msgspec.Struct, frozen=True):
    """`<workspace>/demo/report.json`."""

    data_source: str
    scenario: str
    trained: TrainedSpan
    eta: Eta
    compiled: Compiled
    served: Served
    incident: IncidentFigures
    versions: Versions
    wall_s: float


def make_report(scenario: Scenario, done: dict[str, Figures], wall_s: float) -> Report:
    """The report from the stages' figures."""
    trained, champion = done["train"], done["compile"]["champion"]
    calm, incident = done["watch"], done.get("incident")
    last = incident or calm
    found = {phase["name"]: phase["mae"] for phase in last["loop"]["phases"]}
    return Report(
        data_source=trained["data_source"],
        scenario=scenario.name,
        trained=TrainedSpan(trained["from"], trained["until"], trained["rows"]),
        eta=Eta(trained["metrics"]["mae_min"], trained["metrics"]["baseline_mae_min"]),
        compiled=Compiled(champion["speedup"]["1"], champion["max_rel_error"]),
        served=Served(done["serve"]["p50_ms"], done["serve"]["p99_ms"], done["serve"]["rps"]),
        incident=IncidentFigures(
            scenario.incident,
            incident["alarm_after_h"] if incident else None,
            calm["mae"],
            found["during"] if incident else None,
            found["after_retrain"] if incident else None,
            calm["drift"],
            incident["drift"] if incident else None,
            calm["loop"]["alarms"] + (incident["loop"]["alarms"] if incident else 0),
        ),
        versions=Versions(calm["loop"]["version_before"], last["loop"]["version_after"]),
        wall_s=wall_s,
    )


def rows(report: Report) -> list[tuple[str, str]]:
    """The closing table's rows."""
    incident = report.incident

    def figure(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:.2f} {unit}"

    return [
        (
            "data",
            f"{report.data_source}, {report.trained.rows:,} rows, "
            f"{report.trained.since[:10]} to {report.trained.until[:10]}",
        ),
        (
            "error on the held-back period",
            f"{report.eta.mae_min:.2f} min (zone-pair median: {report.eta.baseline_mae_min:.2f} min)",
        ),
        (
            "compiled",
            f"{report.compiled.speedup_vs_onnxruntime:.1f} x ONNX Runtime at one row, "
            f"largest relative error {report.compiled.max_rel_error:.1g}",
        ),
        (
            "served",
            f"p50 {report.served.p50_ms:.2f} ms, p99 {report.served.p99_ms:.2f} ms, "
            f"{report.served.rps:,.0f} requests/s",
        ),
        ("drift of the inputs", f"{incident.drift_before or '-'} before, {incident.drift_after or '-'} after"),
        (
            "incident",
            "none; no alarm"
            if incident.name is None and not incident.alarms
            else f"{incident.name or 'none'}; alarm after {figure(incident.alarm_after_h, 'h')}",
        ),
        (
            "error in production",
            f"{figure(incident.mae_before, 'min')} before, {figure(incident.mae_during, 'min')} during, "
            f"{figure(incident.mae_after_retrain, 'min')} after retraining",
        ),
        ("model version", f"{report.versions.before} before, {report.versions.after} after"),
        ("time", f"{report.wall_s:.0f} s"),
    ]
