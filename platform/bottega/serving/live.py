"""The live endpoints: follows the deployments and swaps versions without dropping a request."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import BottegaError, NotFound, Unavailable
from bottega.features.plan import OnlineRead, Service
from bottega.serving import deployment
from bottega.serving.endpoint import Endpoint
from bottega.serving.metrics import Metrics
from bottega.settings import load_settings
from bottega.workspace import Workspace

if TYPE_CHECKING:
    from bottega.features.external_reader import ExternalReader

POLL_S = 0.3
_report = logging.getLogger("bottega.serving")


class LiveEndpoints:
    """One endpoint for each deployed use case.

    A new version is loaded and warmed in a thread while the old one answers; then one assignment switches. Requests
    that the old version has begun keep it alive until they are answered. A version that does not load changes nothing
    but `failures`.
    """

    def __init__(self, workspace: Workspace, metrics: Metrics) -> None:
        self._workspace = workspace
        self._metrics = metrics
        self._seen: tuple[int, int, int] | None = None
        self._read_online = open_online(workspace)
        self.services = Services()
        self.endpoints: dict[str, Endpoint] = {}
        self.failures: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether every deployed use case has an endpoint that answers."""
        return self.failures.keys() <= self.endpoints.keys()

    def get(self, usecase: str, version: str | None = None) -> Endpoint:
        """The endpoint of a use case. Raises NotFound, or Unavailable where it is deployed but did not load."""
        endpoint = self.endpoints.get(usecase)
        if endpoint is None:
            if usecase in self.failures:
                raise Unavailable(f"{usecase} is deployed but did not load: {self.failures[usecase]}")
            known = ", ".join(self.endpoints) or "none"
            raise NotFound(f"No model {usecase!r} is live.", next_step=f"Live: {known}.")
        if version is not None and version != str(endpoint.version):
            raise NotFound(
                f"Version {version!r} of {usecase} is not live.", next_step=f"Version {endpoint.version} is."
            )
        return endpoint

    async def follow(self) -> None:
        """Poll the deployments for ever, and swap what changed."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_S)

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
        for usecase in self.endpoints.keys() - wanted.keys():
            del self.endpoints[usecase]
        self.failures = {usecase: text for usecase, text in self.failures.items() if usecase in wanted}
        for usecase, live in wanted.items():
            current = self.endpoints.get(usecase)
            if current is None or current.version != live.champion:
                await self._swap(usecase, live.champion)
            else:
                self.failures.pop(usecase, None)

    async def _swap(self, usecase: str, version: int) -> None:
        folder = self._workspace.repository / usecase / str(version)
        try:
            key = self._workspace.signing_key()
            endpoint = await asyncio.to_thread(
                Endpoint.load, folder, usecase, version, key, self._read_online, self.services, self._metrics
            )
        except Exception as error:  # noqa: BLE001  whatever is wrong with the new version, the old one answers on
            self.failures[usecase] = f"version {version}: {error or type(error).__name__}"
            _report.error("%s version %d does not load: %s", usecase, version, error)
            return
        self.endpoints[usecase] = endpoint
        self.failures.pop(usecase, None)
        endpoint.metrics.version = version
        endpoint.raw_metrics.version = version
        _report.info("%s version %d is live", usecase, version)

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
