"""The workspace: the one folder that holds everything a run writes."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bottega.errors import StorageError
from bottega.files import disk_errors, write_atomic, write_json

FORMAT = 1


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Two workspaces never share a file. `online_address` moves the online store elsewhere.

    >>> Workspace(Path("w")).repository.as_posix()
    'w/repository'
    """

    root: Path
    online_address: str = ""

    @classmethod
    def open(cls, root: Path, online_address: str = "") -> "Workspace":
        """Open the workspace at `root`, creating it where there is none; refuse one that a newer Bottega wrote."""
        workspace = cls(root.expanduser().absolute(), online_address)
        marker = workspace.root / "workspace.json"
        if workspace.root.exists() and not workspace.root.is_dir():
            raise StorageError(f"{root} is a file, not a workspace.", next_step="Name a folder with --workspace.")
        if not marker.exists():
            with disk_errors(workspace.root):
                workspace.root.mkdir(parents=True, exist_ok=True)
            write_json(marker, {"format": FORMAT})
        try:
            found = msgspec.json.decode(marker.read_bytes(), type=dict[str, int])["format"]
        except (msgspec.MsgspecError, KeyError):
            raise StorageError(
                f"{marker} is damaged.", next_step=f'Restore it, or write {{"format": {FORMAT}}} into it.'
            ) from None
        if found > FORMAT:
            raise StorageError(
                f"The workspace {root} has format {found}, this Bottega knows up to {FORMAT}: a newer version wrote it.",
                next_step="Update Bottega, or choose another folder with --workspace.",
            )
        return workspace

    @property
    def data(self) -> Path:
        """Downloaded datasets, one folder each."""
        return self.root / "data"

    @property
    def quarantine(self) -> Path:
        """Rejected rows, with their reasons."""
        return self.root / "quarantine"

    @property
    def offline(self) -> Path:
        """Offline feature tables: Parquet segments."""
        return self.root / "offline"

    @property
    def online(self) -> Path | str:
        """Address of the online store: a folder here (LMDB), unless the settings name another."""
        return self.online_address or self.root / "online"

    @property
    def events(self) -> Path:
        """The embedded event log (SQLite)."""
        return self.root / "events.db"

    @property
    def registry(self) -> Path:
        """MLflow's database and artefacts."""
        return self.root / "registry"

    @property
    def repository(self) -> Path:
        """Model repository that the server reads: `<model>/<version>/`."""
        return self.root / "repository"

    @property
    def search(self) -> Path:
        """Search indexes, one folder a source of places; built again when they are lost."""
        return self.root / "search"

    @property
    def tuning(self) -> Path:
        """Kernels that tuning has searched, by kind of machine; made again when it is lost."""
        return self.root / "tuning"

    @property
    def deployments(self) -> Path:
        """What is live: one JSON file, the single truth."""
        return self.root / "deployments.json"

    @property
    def trials(self) -> Path:
        """What the running server has seen of the canaries, for when it starts again."""
        return self.root / "trials.json"

    @property
    def predictions(self) -> Path:
        """Prediction log: Parquet segments by use case."""
        return self.root / "predictions"

    @property
    def monitoring(self) -> Path:
        """Labels, drift reports, quality series, alerts."""
        return self.root / "monitoring"

    @property
    def server(self) -> Path:
        """Where the running server says its address: `server.json`."""
        return self.root / "server.json"

    @property
    def demo(self) -> Path:
        """State and report of `bottega demo`."""
        return self.root / "demo"

    @property
    def labs(self) -> Path:
        """The learner's copies of the labs."""
        return self.root / "labs"

    def signing_key(self) -> bytes:
        """The secret that signs this workspace's artefacts; made on first use, readable by its owner only."""
        path = self.root / "signing.key"
        if not path.exists():
            write_atomic(path, secrets.token_bytes(32))  # mkstemp makes it 0600
        return path.read_bytes()
