"""Pictures for a use case: a table for each picture dataset that it learns from."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from bottega.datasets.origin import Origin, resolve
from bottega.datasets.pictures import Pictures, load_pictures
from bottega.datasets.reading import NONE, Gathered, Sources, inside
from bottega.errors import InvalidInput, NotFound
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

UNDATED = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
"""Pictures have no dates: any span holds all of them, and an open one is said to be this."""


@dataclass(frozen=True)
class PictureReader:
    """A `bottega.datasets.reading.Reader` of several picture datasets, each a source under its own name."""

    datasets: tuple[str, ...]

    def __call__(
        self,
        workspace: Workspace,
        settings: Settings,
        since: datetime | None,
        until: datetime | None,
        *,
        data: Path | None = None,
        history: timedelta = timedelta(),
        known: Sources = NONE,
        progress: Progress = silent,
    ) -> Gathered:
        """All pictures of each dataset; `data` may hold some of the datasets only, each under its name."""
        span = since or UNDATED[0], until or UNDATED[1]
        if span[0] >= span[1]:
            raise InvalidInput(f"The span ends at {span[1].isoformat()}, before it begins.", next_step="Turn it round.")
        origins: dict[str, Origin | Path] = (
            _inside(data, self.datasets)
            if data is not None
            else {name: resolve(name, workspace, settings) for name in self.datasets}
        )
        loaded = {
            name: load_pictures(name, origin, seed=settings.seed, progress=progress) for name, origin in origins.items()
        }
        return _gather(loaded, span)


def _inside(data: Path, datasets: tuple[str, ...]) -> dict[str, Origin | Path]:
    """The datasets that the folder holds; a folder or file that holds none under its name is the first one's own."""
    if not data.exists():
        raise NotFound(f"{data} does not exist.", next_step="Name a folder or a Parquet file of pictures.")
    found: dict[str, Origin | Path] = {name: data / name for name in datasets if (data / name).is_dir()}
    if found:
        return found
    own = next((name for name in datasets if name in (data.name, data.parent.name)), datasets[0])
    return {own: inside(data, own)}


def _gather(loaded: dict[str, Pictures], span: tuple[datetime, datetime]) -> Gathered:
    rejected: dict[str, int] = {}
    for name, pictures in loaded.items():
        for reason, count in pictures.rejected.items():
            rejected[f"{name}:{reason}"] = count
    labels = dict.fromkeys(pictures.data_source for pictures in loaded.values())
    return Gathered(
        {name: pictures.table for name, pictures in loaded.items()},
        sum(len(pictures.table) for pictures in loaded.values()),
        rejected,
        ", ".join(labels),
        sha256("".join(pictures.fingerprint for pictures in loaded.values()).encode()).hexdigest(),
        span,
    )
