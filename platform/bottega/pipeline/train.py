"""Train: from the dataset to a champion in the registry, with everything that later stages need to know about it."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bottega.errors import NotFound
from bottega.monitoring import alerts
from bottega.monitoring.reference import save_reference, take_reference
from bottega.pipeline.sources import gather
from bottega.progress import Progress, silent
from bottega.registry import ModelVersion, Registry, git_commit
from bottega.settings import Settings
from bottega.times import to_epoch_us
from bottega.training import gate
from bottega.training.evaluate import SliceScore
from bottega.training.outcome import Candidate, Origin
from bottega.training.package import ModelPackage
from bottega.training.settings import Effort
from bottega.usecase import UseCase
from bottega.workspace import Workspace


class Judged(msgspec.Struct, frozen=True):
    """One model on the gate's period: its metrics and how long it learned (rounds or epochs)."""

    model: str
    length: int
    metrics: dict[str, float]


class TrainReport(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """What `bottega train` prints."""

    usecase: str
    model_version: int
    model: str
    reason: str
    data_source: str
    since: str
    until: str
    rows: int
    rows_rejected: dict[str, int]
    gate_from: str
    metrics: dict[str, float]
    candidates: tuple[Judged, ...]
    worst_slices: tuple[SliceScore, ...]
    run_id: str
    challenger_version: int | None = None


@dataclass(frozen=True)
class Options:
    """How to train: fewer rounds and epochs (`quick`), and how many threads (None: one a core)."""

    quick: bool = False
    threads: int | None = None


def train(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    options: Options | None = None,
    progress: Progress = silent,
) -> TrainReport:
    """Train on the requests of [since, until) and promote the best model where the gate opens.

    Raises GateFailed, with the candidate kept in the registry as challenger, where it does not beat the champion and
    the baseline on the newest held-back part of the span.
    """
    options = options or Options()
    gathered = gather(usecase, workspace, settings, since, until, progress=progress)
    since, until = gathered.span
    effort = Effort(seed=settings.seed, quick=options.quick)
    if options.threads is not None:
        effort = Effort(seed=settings.seed, threads=options.threads, quick=options.quick)
    registry = Registry(workspace)
    outcome = usecase.recipe.train(
        usecase.name,
        gathered.sources,
        to_epoch_us(since),
        to_epoch_us(until),
        Origin(gathered.data_source, gathered.fingerprint, git_commit()),
        champion=champion(registry, usecase.name),
        gate=usecase.gate,
        effort=effort,
        progress=progress,
    )
    version = _record(registry, usecase, outcome.chosen, outcome.package, effort)
    others = [_record(registry, usecase, other, other.package, effort) for other in outcome.challengers]
    reference = take_reference(outcome.chosen.held_back, usecase.monitor, version.version, rows=outcome.own)
    save_reference(workspace, usecase.name, reference)
    challengers = others if outcome.decision.passed else [version]
    if challengers:
        registry.set_alias(usecase.name, "challenger", challengers[0].version)
    gate.require(outcome.decision)
    registry.set_alias(usecase.name, "champion", version.version)
    alerts.resolve(workspace, usecase.name, version.version, datetime.now(UTC))
    return TrainReport(
        usecase=usecase.name,
        model_version=version.version,
        model=outcome.chosen.name,
        reason=outcome.decision.reason,
        data_source=gathered.data_source,
        since=since.isoformat(),
        until=until.isoformat(),
        rows=outcome.package.info.trained.rows,
        rows_rejected=gathered.rejected,
        gate_from=datetime.fromtimestamp(outcome.gate_us / 1e6, UTC).isoformat(),
        metrics=outcome.chosen.evaluation.metrics,
        candidates=tuple(Judged(c.name, c.fitted.length, c.evaluation.metrics) for c in outcome.candidates),
        worst_slices=outcome.chosen.evaluation.worst,
        run_id=version.run_id,
        challenger_version=others[0].version if others else None,
    )


def champion(registry: Registry, name: str) -> ModelPackage | None:
    """The package of a use case's champion; None where it has none."""
    try:
        return ModelPackage.load(registry.get(f"{name}@champion").folder)
    except NotFound:
        return None


def _record(
    registry: Registry, usecase: UseCase, candidate: Candidate, package: ModelPackage, effort: Effort
) -> ModelVersion:
    """Log a candidate as a run, with its curves, and register its package."""
    trained = package.info.trained
    params = {
        **candidate.fitted.params,
        "model": candidate.name,
        "length": candidate.fitted.length,
        "from": trained.since,
        "until": trained.until,
        "rows": trained.rows,
        "data_source": trained.data_source,
        "data_fingerprint": trained.fingerprint,
        "run_seed": effort.seed,
        "quick": effort.quick,
    }
    tags = {"git_commit": package.info.git_commit, "data_fingerprint": trained.fingerprint}
    with registry.start_run(usecase.name, candidate.name, tags) as run:
        run.log_params(params)
        for name, curve in candidate.fitted.curves.items():
            run.log_curve(name, curve)
        run.log_metrics(candidate.evaluation.metrics)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "package"
            package.save(place)
            return registry.register(usecase.name, place, run)
