"""Where a dataset comes from: the workspace, the folder that BOTTEGA_DATA names, or the city simulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bottega.datasets.catalog import dataset
from bottega.errors import NotFound
from bottega.settings import Settings
from bottega.workspace import Workspace

DATA_SUFFIXES = (".parquet", ".csv", ".geojson")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
SIMULATED = {
    "tlc_green_trips": "city_simulator",
    "taxi_zones": "city_simulator",
    "city_simulator": "city_simulator",
    "face_mask": "portraits",
    "helmet": "portraits",
    "entree_chicago": "eats",
    "tlc_green_demand": "city_simulator",
}
"""What invents a dataset where there are no files of it."""


@dataclass(frozen=True)
class Origin:
    """Where the rows come from; `path` is the folder, None for the simulator."""

    kind: Literal["workspace", "BOTTEGA_DATA", "simulator"]
    path: Path | None = None
    dataset: str = "tlc_green_trips"

    @property
    def label(self) -> str:
        """What reports print as `data_source`."""
        return f"{self.kind}:{SIMULATED[self.dataset] if self.kind == 'simulator' else self.dataset}"


def data_files(folder: Path) -> tuple[Path, ...]:
    """The data files directly in `folder`, in name order; hidden and unfinished ones are not data."""
    if not folder.is_dir():
        return ()
    return tuple(
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in DATA_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def picture_files(folder: Path) -> tuple[Path, ...]:
    """Plain picture files, sorted: `0/*.jpg` and `1/*.jpg` of a folder, whose folders' names are the labels."""
    found = (file for label in ("0", "1") for file in sorted((folder / label).glob("[!.]*")))
    return tuple(file for file in found if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())


def resolve(name: str, workspace: Workspace, settings: Settings) -> Origin:
    """The first place that has the dataset: the workspace, the folder of BOTTEGA_DATA, the simulator.

    Raises NotFound for an unknown name, a BOTTEGA_DATA that is no folder, or a dataset that the simulator cannot give.
    """
    dataset(name)
    if name == "city_simulator":
        return Origin("simulator", None, name)
    if _holds_data(workspace.data / name):
        return Origin("workspace", workspace.data / name, name)
    if settings.data is not None:
        if not settings.data.is_dir():
            raise NotFound(
                f"BOTTEGA_DATA names {settings.data}, which is no folder.",
                next_step="Correct it, or unset it to use the city simulator.",
            )
        if _holds_data(settings.data / name):
            return Origin("BOTTEGA_DATA", settings.data / name, name)
    if name not in SIMULATED:
        raise NotFound(f"The dataset {name!r} is not here.", next_step=f"Fetch it with 'bottega data get {name}'.")
    return Origin("simulator", None, name)


def _holds_data(folder: Path) -> bool:
    return bool(data_files(folder) or picture_files(folder))


def zones_for(trips: Origin | Path, workspace: Workspace, settings: Settings) -> Origin:
    """The zones that belong to these trips: never an invented city's zones for real trips.

    Raises NotFound where the trips are real and the taxi zones are not here.
    """
    if isinstance(trips, Origin) and trips.kind == "simulator":
        return Origin("simulator", None, "taxi_zones")
    found = resolve("taxi_zones", workspace, settings)
    if found.kind == "simulator":
        raise NotFound(
            "These trips are real, and New York's taxi zones are not here.",
            next_step="Fetch them with 'bottega data get taxi_zones', or name a folder that has them in BOTTEGA_DATA.",
        )
    return found
