"""The demo's stages, each one a call of the same functions that its command calls; each returns its figures."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bottega.datasets.origin import resolve
from bottega.datasets.trips import load_trips
from bottega.demo.scenario import Scenario
from bottega.pipeline.loop import LoopReport, replay_span
from bottega.pipeline.release import compile_version, deploy_version
from bottega.pipeline.replay import request_rows
from bottega.pipeline.train import Options, train
from bottega.pipeline.trial import try_load
from bottega.pipeline.views import check_parity, materialize_views
from bottega.pipeline.watch import drift_since_training, live_version, watch_live
from bottega.progress import Progress
from bottega.registry import Registry
from bottega.serving.client import Client
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace

Figures = dict[str, Any]
REQUESTS = 64
PARITY_SPAN = timedelta(days=1)


@dataclass(frozen=True)
class Demo:
    """What all stages share; `progress` is renewed for each stage."""

    usecase: UseCase
    workspace: Workspace
    settings: Settings
    scenario: Scenario
    progress: Progress

    def data(self) -> Figures:
        """Load and check the span to train on."""
        since, until = self._training()
        origin = resolve(self.scenario.dataset, self.workspace, self.settings)
        loaded = load_trips(origin, self.workspace, self.settings, since, until, self.progress)
        trips = loaded.table
        return {
            "data_source": loaded.data_source,
            "rows": len(trips),
            "rejected": loaded.rejected,
            "mean_min": float(trips["duration_min"].mean()),
        }

    def features(self) -> Figures:
        """Fill the online store and prove that it answers as the training set does."""
        since, until = self._training()
        events = materialize_views(self.usecase, self.workspace, self.settings, since, until, progress=self.progress)
        found = check_parity(self.usecase, self.workspace, self.settings, until - PARITY_SPAN, until, self.progress)
        return {"events": events, "values": found.values, "mismatches": found.mismatches}

    def train(self) -> Figures:
        """Train every model, choose at the gate, register."""
        since, until = self._training()
        report = train(self.usecase, self.workspace, self.settings, since, until, Options(quick=True), self.progress)
        return msgspec.to_builtins(report)

    def compile(self) -> Figures:
        """Compile champion and challenger to native code."""
        found = {}
        for role, version in self._versions().items():
            manifest = compile_version(self.workspace, f"{self.usecase.name}/{version}", progress=self.progress)
            found[role] = {
                "version": version,
                "model": manifest.model,
                "speedup": {str(b.batch): b.speedup for b in manifest.engines},
                "engine": {str(b.batch): b.engine for b in manifest.engines},
                "max_rel_error": manifest.parity.max_rel_error,
            }
        return found

    def serve(self, version: int) -> Figures:
        """Deploy the champion, ask once, then ask as fast as one connection can."""
        name = self.usecase.name
        deploy_version(self.workspace, f"{name}/{version}", "first champion of the demo")
        requests = self._requests()
        with Client.from_workspace(self.workspace) as client:
            answer = client.predict(name, requests[:1], logged=False).answers[0]
        trial = try_load(self.workspace, name, [msgspec.json.encode(request) for request in requests])
        return {
            "request": requests[0],
            "answer": answer,
            "p50_ms": trial.alone.p50_ms,
            "p99_ms": trial.alone.p99_ms,
            "rps": trial.busy.rps,
            "errors": trial.alone.errors + trial.busy.errors,
        }

    def watch(self, version: int) -> Figures:
        """Replay the days before the incident (all of them, where nothing happens) and look."""
        self._begin_with(version)
        start, end = self.scenario.moment(self.scenario.replay_from), self._calm_until()
        report = self._replay(start, end, retrain=False)
        look = watch_live(self.usecase, self.workspace, start, end, now=end, progress=self.progress)
        return {"loop": msgspec.to_builtins(report), "drift": look.drift, "mae": look.mae}

    def incident(self, version: int) -> Figures:
        """Replay the incident: alarm, retrain, release, recover."""
        self._begin_with(version)
        start, end = self._calm_until(), self.scenario.moment(self.scenario.replay_until)
        report = self._replay(start, end, retrain=True)
        at = report.alarm_at
        begin = self.scenario.incident_at
        drift = drift_since_training(self.usecase, self.workspace, version, end).verdict
        return {
            "loop": msgspec.to_builtins(report),
            "alarm_after_h": None if at is None or begin is None else (at - begin).total_seconds() / 3600,
            "drift": drift,
        }

    def _versions(self) -> dict[str, int]:
        """The versions that hold the two aliases, champion first."""
        versions = Registry(self.workspace).versions(self.usecase.name)
        return {alias: v.version for alias in ("champion", "challenger") for v in versions if alias in v.aliases}

    def _begin_with(self, version: int) -> None:
        """Make the first champion live again, where an interrupted run has got further."""
        if live_version(self.workspace, self.usecase.name) != version:
            deploy_version(self.workspace, f"{self.usecase.name}/{version}", "the demo begins this stage again")

    def _replay(self, since: datetime, until: datetime, retrain: bool) -> LoopReport:
        return replay_span(
            self.usecase,
            self.workspace,
            self.settings,
            since,
            until,
            retrain=retrain,
            quick=True,
            incident_at=self.scenario.incident_at,
            progress=self.progress,
        )

    def _training(self) -> tuple[datetime, datetime]:
        return self.scenario.moment(self.scenario.train_from), self.scenario.moment(self.scenario.train_until)

    def _calm_until(self) -> datetime:
        return self.scenario.incident_at or self.scenario.moment(self.scenario.replay_until)

    def _requests(self) -> list[dict[str, Any]]:
        """Some requests as a client sends them, from the first day that is replayed."""
        since = self.scenario.moment(self.scenario.replay_from)
        origin = resolve(self.scenario.dataset, self.workspace, self.settings)
        trips = load_trips(origin, self.workspace, self.settings, since, since + timedelta(days=1)).table
        labels = self.usecase.recipe.labels({"trips": trips})
        return request_rows(self.usecase, labels.iloc[:: max(1, len(labels) // REQUESTS)].head(REQUESTS))
