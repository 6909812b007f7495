"""The registry: training runs and model versions, on MLflow with SQLite. The only file that imports mlflow.

Aliases say what a version is for: `champion` is the best there is, `challenger` the next to watch. What is live is the
deployment's business.
"""

import dataclasses
import logging
import os
import re
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bottega.errors import InvalidInput, NotFound, StorageError
from bottega.files import disk_errors
from bottega.times import from_epoch_us
from bottega.training.package import ModelPackage, PackageInfo
from bottega.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Entry
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
_REFERENCE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?:@(?P<alias>[a-z]+)|[/@](?P<version>[1-9][0-9]*))?")
_BATCH = 1000


class ModelVersion(msgspec.Struct, frozen=True):
    """A registered version; `folder` holds its package, `metrics` are those of the gate's period."""

    name: str
    version: int
    folder: Path
    aliases: tuple[str, ...]
    metrics: dict[str, float]
    tags: dict[str, str]
    run_id: str
    created_at: datetime


class Run:
    """A training run that is being logged."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client, self.id = client, run_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log settings."""
        from mlflow.entities import Param

        self._client.log_batch(self.id, params=[Param(name, str(value)) for name, value in params.items()])

    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Log one value a round or epoch, the first at step 1."""
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        points = [Metric(name, float(value), now_ms, step) for step, value in enumerate(values, 1)]
        for start in range(0, len(points), _BATCH):
            self._client.log_batch(self.id, metrics=points[start : start + _BATCH])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log final figures."""
        for name, value in metrics.items():
            self.log_curve(name, [value])


class Registry:
    """The runs and versions of one workspace. Opening it is cheap; MLflow is imported at the first use."""

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.registry
        self._opened: MlflowClient | None = None

    @contextmanager
    def start_run(self, usecase: str, name: str, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """A run of a use case's experiment; it ends as FAILED where the block raises."""
        client = self._client()
        experiment = client.get_experiment_by_name(usecase)
        experiment_id = (
            experiment.experiment_id if experiment else client.create_experiment(usecase, self._artifacts().as_uri())
        )
        run = Run(client, client.create_run(experiment_id, tags=dict(tags or {}), run_name=name).info.run_id)
        try:
            yield run
        except BaseException:
            client.set_terminated(run.id, "FAILED")
            raise
        client.set_terminated(run.id, "FINISHED")

    def register(self, usecase: str, package_folder: Path, run: Run) -> ModelVersion:
        """Copy a package folder to the run's artefacts, note the run in it, and make it the use case's next version."""
        client, folder = self._client(), self._package(run.id)
        package = ModelPackage.load(package_folder)
        info = msgspec.structs.replace(package.info, run_id=run.id)
        with disk_errors(folder):
            folder.mkdir(parents=True)
            dataclasses.replace(package, info=info).save(folder)
        if not client.search_registered_models(f"name = '{usecase}'"):
            client.create_registered_model(usecase)
        tags = {
            "model": info.model,
            "kind": info.kind,
            "trained_from": info.trained.since,
            "trained_until": info.trained.until,
            "rows": str(info.trained.rows),
            "data_source": info.trained.data_source,
            "data_fingerprint": info.trained.fingerprint,
            "git_commit": info.git_commit,
        }
        entry = client.create_model_version(usecase, folder.as_uri(), run.id, tags=tags)
        return self.get(f"{usecase}/{int(entry.version)}")

    def get(self, reference: str) -> ModelVersion:
        """The version that `eta@champion`, `eta/3`, `eta@3` or `eta` (its champion) names.

        Raises NotFound, which says what there is.
        """
        parsed = _REFERENCE.fullmatch(reference)
        if parsed is None:
            raise InvalidInput(
                f"{reference!r} is no reference to a model.", next_step="Write eta, eta@champion or eta/3."
            )
        name, alias = parsed["name"], parsed["alias"] or CHAMPION
        known = self.versions(name)
        wanted = [
            v for v in known if (v.version == int(parsed["version"]) if parsed["version"] else alias in v.aliases)
        ]
        if wanted:
            return wanted[0]
        if not known:
            raise NotFound(f"{name!r} has no version yet.", next_step=f"Run 'bottega train {name}' first.")
        there = ", ".join("/".join([str(v.version), *v.aliases]) for v in known)
        what = f"version {parsed['version']}" if parsed["version"] else f"{alias}"
        raise NotFound(f"{name!r} has no {what}.", next_step=f"Its versions are {there}.")

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a model, oldest first; none where it was never registered."""
        if not (self._folder / "mlflow.db").exists():
            return ()
        client = self._client()
        models = client.search_registered_models(f"name = '{name}'")
        if not models:
            return ()
        aliases = {alias: int(version) for alias, version in models[0].aliases.items()}
        entries = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return tuple(sorted((self._read(entry, aliases) for entry in entries), key=lambda v: v.version))

    def models(self) -> tuple[str, ...]:
        """Names of the registered models."""
        if not (self._folder / "mlflow.db").exists():
            return ()
        return tuple(sorted(model.name for model in self._client().search_registered_models()))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, which must exist; a version holds champion or challenger, never both."""
        found = self.get(f"{name}/{version}")
        client = self._client()
        for other in {CHAMPION, CHALLENGER} & set(found.aliases) - {alias}:
            client.delete_registered_model_alias(name, other)
        client.set_registered_model_alias(name, alias, str(version))

    def server_command(self, host: str, port: int) -> list[str]:
        """The module and arguments that serve MLflow's own page on this registry."""
        self._client()  # so that the database exists
        store = ["--backend-store-uri", self._address(), "--default-artifact-root", self._artifacts().as_uri()]
        return ["mlflow", "server", *store, "--host", host, "--port", str(port), "--workers", "1"]

    def _read(self, entry: "Entry", aliases: Mapping[str, int]) -> ModelVersion:
        version = int(entry.version)
        run_id = str(entry.run_id)
        folder = self._package(run_id)
        try:
            info = msgspec.json.decode((folder / "package.json").read_bytes(), type=PackageInfo)
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            raise StorageError(
                f"The package of {entry.name} version {version} is missing or damaged: {folder}.",
                next_step="Restore the workspace's registry folder, or train again in another workspace.",
            ) from error
        return ModelVersion(
            entry.name,
            version,
            folder,
            tuple(sorted(alias for alias, target in aliases.items() if target == version)),
            info.metrics,
            dict(entry.tags),
            run_id,
            from_epoch_us(entry.creation_timestamp * 1000),
        )

    def _package(self, run_id: str) -> Path:
        """Where a run's package lies: by the workspace's present place, so that a workspace may be moved."""
        return self._artifacts() / run_id / "artifacts" / "package"

    def _artifacts(self) -> Path:
        return self._folder / "artifacts"

    def _address(self) -> str:
        return f"sqlite:///{self._folder / 'mlflow.db'}"

    def _client(self) -> "MlflowClient":
        if self._opened is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            with disk_errors(self._folder), warnings.catch_warnings():
                # MLflow's tables use a SQLAlchemy loader strategy that is deprecated.
                warnings.simplefilter("ignore")
                self._folder.mkdir(parents=True, exist_ok=True)
                from mlflow.tracking import MlflowClient

                for noisy in ("mlflow", "alembic"):  # they report each migration of a new database
                    logging.getLogger(noisy).setLevel(logging.WARNING)
                self._opened = MlflowClient(self._address(), self._address())
                self._opened.search_experiments(max_results=1)
        return self._opened


def git_commit() -> str:
    """The commit of the code that runs, with `-dirty` where files differ from it; `unknown` outside a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return "unknown"
    try:
        found = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() or "unknown"
