"""The stages of the loop as the workspace shows them: what is there, the latest figure, the command for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bottega.features.steps import Online
from bottega.registry import CHALLENGER
from bottega.serving.status import UseCaseStatus
from studio.snapshot import Snapshot
from studio.words import milliseconds, moment, span

State = Literal["empty", "fine", "alarm"]


@dataclass(frozen=True)
class Stage:
    """One stage: its state, its latest figure, a line of detail, and the command that fills it or helps it."""

    name: str
    state: State
    figure: str
    detail: str = ""
    command: str = ""


def stages(snapshot: Snapshot) -> tuple[Stage, ...]:
    """The eight stages in the order of the data."""
    judges: dict[str, Callable[[Snapshot], Stage]] = {
        "Data": _data,
        "Features": _features,
        "Training": _training,
        "Registry": _registry,
        "Compile": _compile,
        "Serving": _serving,
        "Monitoring": _monitoring,
        "Retrain": _retrain,
    }
    return tuple(
        Stage(name, "alarm", "cannot be read", snapshot.problems[name])
        if name in snapshot.problems
        else judge(snapshot)
        for name, judge in judges.items()
    )


def _data(found: Snapshot) -> Stage:
    if found.info is None:
        source = f"training would read {found.data_source}" if found.data_source else ""
        return Stage("Data", "empty", "no data used yet", source, "bottega data list")
    trained = found.info.trained
    return Stage(
        "Data", "fine", f"{trained.rows:,} rows", f"{trained.data_source}, {span(trained.since, trained.until)}"
    )


def _features(found: Snapshot) -> Stage:
    if found.info is None:
        return Stage("Features", "empty", "no features computed yet", "", "bottega features list")
    plan = found.info.plan
    online = [step for step in plan.steps if isinstance(step, Online)]
    read = sum(len(step.outputs) for step in online)
    views = ", ".join(sorted({step.view for step in online}))
    detail = f"{read} read online, from {views}" if read else "none read online"
    return Stage("Features", "fine", f"{len(plan.features)} inputs", detail)


def _training(found: Snapshot) -> Stage:
    if found.info is None:
        return Stage("Training", "empty", "no model trained yet", "", f"bottega train {found.usecase}")
    mae, baseline = (found.info.metrics.get(name) for name in ("mae_min", "baseline_mae_min"))
    if mae is None and found.info.metrics:
        name, value = next(iter(found.info.metrics.items()))
        return Stage("Training", "fine", f"{name} {value:.3g}", found.info.model)
    if mae is None:
        return Stage("Training", "fine", found.info.model)
    detail = found.info.model
    if baseline:
        detail += f", {1 - mae / baseline:.0%} under the baseline's {baseline:.2f}"
    return Stage("Training", "fine", f"MAE {mae:.2f} min", detail)


def _registry(found: Snapshot) -> Stage:
    if not found.versions:
        return Stage("Registry", "empty", "no version registered yet", "", f"bottega train {found.usecase}")
    champion = found.champion
    challenger = next((v.version for v in found.versions if CHALLENGER in v.aliases), None)
    count = f"{len(found.versions)} version{'s' if len(found.versions) > 1 else ''}"
    detail = count if challenger is None else f"{count}, challenger {challenger}"
    if champion is None:
        return Stage("Registry", "empty", "no champion yet", detail, f"bottega train {found.usecase}")
    return Stage("Registry", "fine", f"Champion {champion.version}", detail)


def _compile(found: Snapshot) -> Stage:
    if found.manifest is None:
        return Stage("Compile", "empty", "nothing compiled yet", "", f"bottega compile {found.usecase}")
    manifest = found.manifest
    speedups = [bucket.speedup for bucket in manifest.engines if bucket.speedup]
    figure = f"{max(speedups):.1f} × ONNX Runtime" if speedups else "not measured"
    if len(speedups) > 1 and round(min(speedups), 1) != round(max(speedups), 1):
        figure = f"{min(speedups):.1f} to {max(speedups):.1f} × ONNX Runtime"
    error, against = manifest.parity.max_rel_error, manifest.parity.against
    parity = f"within {error:.0e} of {against}" if error else f"bit-equal to {against}"
    return Stage("Compile", "fine", figure, f"{parity}, version {manifest.version}")


def _beside(live: UseCaseStatus) -> str:
    """The versions beside the champion."""
    canary, shadow = live.role("canary"), live.role("shadow")
    text = "" if canary is None else f"; canary: version {canary.version}, {canary.share:.3g} of the requests"
    return text if shadow is None else f"{text}; shadow: version {shadow.version}"


def _serving(found: Snapshot) -> Stage:
    if found.status is None:
        if found.live is None:
            return Stage("Serving", "empty", "nothing deployed yet", "", f"bottega deploy {found.usecase}@champion")
        return Stage("Serving", "empty", f"version {found.live} deployed, no server", "", "bottega serve")
    failure = found.status.failures.get(found.usecase)
    live = found.status.usecases.get(found.usecase)
    if live is None:
        detail = failure or "the server runs, nothing is deployed"
        return Stage(
            "Serving", "alarm" if failure else "empty", "no answer", detail, f"bottega deploy {found.usecase}@champion"
        )
    total = live.stages.get("total", {})
    asked = "1 request" if live.requests == 1 else f"{live.requests:,} requests"
    detail = f"version {live.model_version}, {asked}, {live.rows:,} rows{_beside(live)}"
    if failure:
        return Stage("Serving", "alarm", f"version {live.model_version} stays", failure)
    if "p50_us" not in total:
        return Stage("Serving", "fine", f"version {live.model_version} live", "no request answered yet")
    return Stage("Serving", "fine", f"p50 {milliseconds(total['p50_us'])}, p99 {milliseconds(total['p99_us'])}", detail)


def _monitoring(found: Snapshot) -> Stage:
    summary, alerts = found.summary, found.open_alerts
    if summary is None and not alerts:
        return Stage("Monitoring", "empty", "not watched yet", "", f"bottega monitor {found.usecase}")
    drift = "drift not measured" if summary is None or summary.drift is None else summary.drift
    detail = f"{drift}, {len(alerts)} open alert{'' if len(alerts) == 1 else 's'}"
    if alerts:
        evidence = alerts[-1].evidence
        figure = f"MAE {evidence.mae_before:.2f} → {evidence.mae_now:.2f} min"
        return Stage("Monitoring", "alarm", figure, detail)
    assert summary is not None
    if summary.mae is None:
        return Stage("Monitoring", "fine", "no labels yet", detail)
    return Stage(
        "Monitoring", "fine", f"MAE {summary.mae:.2f} {summary.unit}", f"{detail}, normal {summary.normal.mae:.2f}"
    )


def _retrain(found: Snapshot) -> Stage:
    if found.open_alerts:
        alert = found.open_alerts[-1]
        return Stage("Retrain", "alarm", "wanted", f"since {moment(alert.detection.at)}", alert.next_step)
    ended = [alert for alert in found.alerts if alert.resolved_by is not None]
    if not ended:
        return Stage("Retrain", "empty", "not needed yet", "an alarm asks for it")
    last = ended[-1]
    figure = f"version {last.model_version} → {last.resolved_by}"
    incident = (found.report or {}).get("incident") or {}
    during, after = incident.get("mae_during"), incident.get("mae_after_retrain")
    if during is None or after is None:
        return Stage("Retrain", "fine", figure, f"ended the alarm of {moment(last.detection.at)}")
    return Stage("Retrain", "fine", figure, f"MAE {during:.2f} → {after:.2f} min")
