"""All models of a server by name and version: those of the deployments, and those of a model repository."""

from bottega.errors import NotFound, Unsupported
from bottega.serving.endpoint import RAW_SUFFIX
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.model import Model
from bottega.serving.protocol import IndexEntry, ModelMetadata
from bottega.serving.repository import Repository
from bottega.serving.views import RawModel, UsecaseModel


class Models:
    """What REST and gRPC ask for models; a deployed use case hides a plain model of the same name."""

    def __init__(self, live: LiveEndpoints, log: PredictionLog, repository: Repository | None = None) -> None:
        self._live, self._log, self._repository = live, log, repository

    @property
    def ready(self) -> bool:
        """Whether everything that should answer does."""
        return self._live.ready and (self._repository is None or self._repository.ready)

    def find(self, name: str, version: str | None = None) -> Model:
        """A model's newest version, of a use case its champion; or the version asked for.

        Raises NotFound, or Unavailable where it did not load.
        """
        usecase = name.removesuffix(RAW_SUFFIX)
        if usecase != name and name not in self._live.traffic and usecase in self._live.traffic:
            return RawModel(self._live.get(usecase, version))
        if name not in self._live.traffic and name not in self._live.failures and self._repository is not None:
            found = self._repository.find(name, version)
            if found is not None:
                return found
            known = [entry.name for entry in self.index(ready_only=True)]
            raise NotFound(f"No model {name!r} is here.", next_step=f"There are: {', '.join(sorted(set(known)))}.")
        if version is None:
            traffic = self._live.find(name)
            return UsecaseModel(traffic.champion, self._log, traffic=traffic)
        endpoint = self._live.get(name, version)
        return UsecaseModel(endpoint, self._log, self._live.traffic[name].role_when_asked(endpoint))

    def metadata(self, name: str, version: str | None = None) -> ModelMetadata:
        """A model's tensors, with all versions that answer."""
        model = self.find(name, version)
        found = model.metadata()
        found.versions[:] = [one.version for one in self.loaded() if one.name == name]
        return found

    def loaded(self) -> list[Model]:
        """Every version of every model that answers."""
        found: list[Model] = []
        for traffic in self._live.traffic.values():
            for endpoint in traffic.endpoints.values():
                found += [UsecaseModel(endpoint, self._log), RawModel(endpoint)]
        return found + ([] if self._repository is None else list(self._repository.loaded))

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """Every model and version, with its state."""
        entries = []
        for usecase, traffic in self._live.traffic.items():
            for name in (usecase, usecase + RAW_SUFFIX):
                entries += [IndexEntry(name, str(version), "READY", "") for version in traffic.endpoints]
        for usecase, reason in self._live.failures.items():
            if usecase not in self._live.traffic and not ready_only:
                entries.append(IndexEntry(usecase, "", "UNAVAILABLE", reason))
        return entries + ([] if self._repository is None else self._repository.index(ready_only))

    async def load(self, name: str) -> None:
        """Load a plain model as its files are now. Raises Conflict where clients may not."""
        await self._changeable().load(name)

    async def unload(self, name: str) -> None:
        """Take a plain model out."""
        await self._changeable().unload(name)

    def _changeable(self) -> Repository:
        if self._repository is None:
            raise Unsupported(
                "What this server answers is decided by deployments.",
                next_step="Run 'bottega deploy', or serve a repository with --repository DIR --model-control explicit.",
            )
        return self._repository
