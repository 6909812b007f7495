"""The live endpoints: follows the deployments and swaps versions without dropping a request."""

import asyncio
import functools
import itertools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bottega.errors import BottegaError, Conflict, NotFound, Unavailable
from bottega.features.steps import OnlineRead, Service
from bottega.serving import deployment
from bottega.serving.comparison import check_same_contract
from bottega.serving.deployments import RoleStatus
from bottega.serving.endpoint import Endpoint
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.traffic import Traffic
from bottega.serving.trials import Trials
from bottega.settings import load_settings
from bottega.workspace import Workspace

if TYPE_CHECKING:
    from bottega.features.external_reader import ExternalReader

POLL_S = 0.3
SAVE_POLLS = 5
"""Looks at the deployments between two notes of the trials."""
_report = logging.getLogger("bottega.serving")


class LiveEndpoints:
    """The versions of each deployed use case.

    A new version is loaded and warmed in a thread while the old ones answer; then one assignment switches. Requests
    that an old version has begun keep it alive until they are answered. A version that does not load changes nothing
    but `failures`. A canary that breaks a guardrail gets no more requests, and is taken back in the deployments.
    """

    def __init__(
        self, workspace: Workspace, metrics: Metrics, log: PredictionLog | None = None, replica: int | None = None
    ) -> None:
        self._workspace = workspace
        self._metrics = metrics
        self._log = log
        self._seen: tuple[int, int, int] | None = None
        self._read_online = open_online(workspace)
        self._trials = Trials(workspace, replica)
        self._rollbacks: set[asyncio.Task[None]] = set()
        self.services = Services()
        self.traffic: dict[str, Traffic] = {}
        self.failures: dict[str, str] = {}

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """The champion of each use case."""
        return {usecase: traffic.champion for usecase, traffic in self.traffic.items()}

    @property
    def ready(self) -> bool:
        """Whether every deployed use case has an endpoint that answers."""
        return self.failures.keys() <= self.traffic.keys()

    def find(self, usecase: str) -> Traffic:
        """The traffic of a use case. Raises NotFound, or Unavailable where it is deployed but did not load."""
        traffic = self.traffic.get(usecase)
        if traffic is None:
            if usecase in self.failures:
                raise Unavailable(f"{usecase} is deployed but did not load: {self.failures[usecase]}")
            known = ", ".join(self.traffic) or "none"
            raise NotFound(f"No model {usecase!r} is live.", next_step=f"Live: {known}.")
        return traffic

    def get(self, usecase: str, version: str | None = None) -> Endpoint:
        """The champion of a use case, or any version that is loaded. Raises as `find`, and NotFound for another."""
        traffic = self.find(usecase)
        if version is None or version == str(traffic.champion.version):
            return traffic.champion
        for number, endpoint in traffic.endpoints.items():
            if version == str(number):
                return endpoint
        has = ", ".join(map(str, sorted(traffic.endpoints)))
        raise NotFound(
            f"Version {version!r} of {usecase} is not live.",
            next_step=f"Version {has} is." if len(traffic.endpoints) == 1 else f"Versions {has} are.",
        )

    def roles(self) -> dict[str, list[RoleStatus]]:
        """The roles of each use case."""
        return {usecase: traffic.describe() for usecase, traffic in self.traffic.items()}

    async def follow(self) -> None:
        """Poll the deployments for ever, and swap what changed; now and then write down the trials' evidence."""
        for turn in itertools.count(1):
            await self.refresh()
            if turn % SAVE_POLLS == 0:
                await self.save_trials()
            await asyncio.sleep(POLL_S)

    async def save_trials(self) -> None:
        """Write down what was seen of the canaries, for the next process."""
        await self._trials.save(self.traffic)

    async def refresh(self) -> None:
        """Bring the endpoints in line with the deployments, if their file changed since the last look."""
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            wanted = deployment.read(self._workspace).live
        except (BottegaError, OSError) as error:
            _report.error("The deployments stay as they are: %s", error)
            return
        for usecase in self.traffic.keys() - wanted.keys():
            self.traffic.pop(usecase).close()
        self.failures = {usecase: text for usecase, text in self.failures.items() if usecase in wanted}
        for usecase, live in wanted.items():
            current = self.traffic.get(usecase)
            ended = current is not None and current.trial is not None and current.trial.ended
            if current is None or current.live != live or ended or usecase in self.failures:
                await self._swap(usecase, live)

    async def _swap(self, usecase: str, live: deployment.Live) -> None:
        self.failures.pop(usecase, None)
        champion = await self._load(usecase, live.champion, "champion")
        if champion is None:
            return
        canary = await self._beside(usecase, live, "canary", champion)
        shadow = await self._beside(usecase, live, "shadow", champion)
        before = self.traffic.get(usecase)
        alarm = functools.partial(self._roll_back, usecase)
        guard = self._trials.find(usecase, live)
        self.traffic[usecase] = Traffic(live, champion, canary, shadow, alarm, self._log, before, guard)
        champion.metrics.version = champion.raw_metrics.version = live.champion
        event = {"event": "live", "usecase": usecase, **msgspec.to_builtins(live)}
        _report.info("%s version %d is live", usecase, live.champion, extra={"fields": event})

    async def _beside(
        self, usecase: str, live: deployment.Live, role: deployment.Role, champion: Endpoint
    ) -> Endpoint | None:
        """The version in a role beside the champion; None where there is none, or it cannot stand there."""
        version = live.version(role)
        found = None if version is None else await self._load(usecase, version, role)
        if found is not None:
            try:
                check_same_contract(champion.plan, found.plan)
            except Conflict as error:
                self._failed(usecase, found.version, role, error)
                return None
        return found

    async def _load(self, usecase: str, version: int, role: deployment.Role) -> Endpoint | None:
        """A version that is loaded already, or loads now; None where it does not."""
        before = self.traffic.get(usecase)
        if before is not None and version in before.endpoints:
            return before.endpoints[version]
        folder = self._workspace.repository / usecase / str(version)
        try:
            key = self._workspace.signing_key()
            return await asyncio.to_thread(
                Endpoint.load, folder, usecase, version, key, self._read_online, self.services, self._metrics
            )
        except Exception as error:  # noqa: BLE001  whatever is wrong with the new version, the old one answers on
            self._failed(usecase, version, role, error)
            return None

    def _failed(self, usecase: str, version: int, role: deployment.Role, error: Exception) -> None:
        name = f"version {version}" if role == "champion" else f"version {version} ({role})"
        self.failures[usecase] = f"{name}: {error or type(error).__name__}"
        event = {"event": "load_failed", "usecase": usecase, "version": version, "role": role}
        _report.error("%s %s does not load: %s", usecase, name, error, extra={"fields": event})

    def _roll_back(self, usecase: str, version: int, reason: str, evidence: dict[str, Any]) -> None:
        """Write down that a canary, which gets no more requests, is taken back."""
        event = {"event": "rollback", "usecase": usecase, "version": version, "evidence": evidence}
        _report.error("%s version %d is taken back: %s", usecase, version, reason, extra={"fields": event})
        task = asyncio.create_task(self._write_rollback(usecase, version, reason, evidence))
        self._rollbacks.add(task)
        task.add_done_callback(self._rollbacks.discard)

    async def _write_rollback(self, usecase: str, version: int, reason: str, evidence: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(
                deployment.rollback, self._workspace, usecase, reason, "canary", version=version, evidence=evidence
            )
        except Conflict as error:
            _report.info("%s: %s", usecase, error)  # whoever deploys was faster
        except (BottegaError, OSError) as error:
            _report.error("%s version %d gets no requests, which cannot be written down: %s", usecase, version, error)

    def _signature(self) -> tuple[int, int, int]:
        try:
            status = self._workspace.deployments.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_ino, status.st_size


def open_online(workspace: Workspace) -> OnlineRead:
    """A way to read features that opens the online store when a plan first asks for one."""
    opened: list[OnlineRead] = []

    def read(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
        if not opened:
            from bottega.features.online import OnlineStore

            opened.append(OnlineStore(workspace.online).read)
        return opened[0](view, keys, at_us)

    return read


class Services:
    """A way to ask external services, opened when a plan first asks one; the settings hold their addresses."""

    def __init__(self) -> None:
        self._reader: ExternalReader | None = None

    def __call__(self, service: Service, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
        """A service's features, (batch,) float64 each."""
        if self._reader is None:
            from bottega.features.external_reader import ExternalReader

            self._reader = ExternalReader(load_settings().endpoints)
        return self._reader(service, keys, at_us)

    def counts(self) -> dict[str, dict[str, int]]:
        """What became of the questions and calls, by view."""
        return {} if self._reader is None else self._reader.counts()
