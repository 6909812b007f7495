"""Where the places of a search come from, and the index that is kept for them in the workspace."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from bottega.datasets.catalog import dataset
from bottega.datasets.city import CITY_NAME
from bottega.datasets.diners import DATASET as DINERS
from bottega.datasets.diners import TIMEZONE, Diners, load_diners
from bottega.datasets.eats import build_guide
from bottega.datasets.eats_hours import draw_hours
from bottega.datasets.origin import Origin, data_files, resolve
from bottega.datasets.relation import read_relation
from bottega.errors import NotFound
from bottega.files import sha256
from bottega.ranking.guide import DATASET as GUIDE
from bottega.ranking.guide import guide_places, read_labels
from bottega.ranking.index import build_index, open_index, read_manifest
from bottega.ranking.place import Place
from bottega.ranking.search import SearchIndex
from bottega.settings import Settings
from bottega.workspace import Workspace

SOURCES = (GUIDE, DINERS)
_PRICES = {"low": 1, "medium": 2, "high": 3}
OFFERS = MappingProxyType(
    {
        ("alcohol", "Full_Bar"): "Full bar",
        ("alcohol", "Wine-Beer"): "Wine and beer",
        ("smoking_area", "none"): "No smoking",
        ("smoking_area", "not permitted"): "No smoking",
        ("smoking_area", "section"): "Smoking area",
        ("smoking_area", "permitted"): "Smoking area",
        ("smoking_area", "only at bar"): "Smoking area",
        ("dress_code", "formal"): "Formal dress",
        ("accessibility", "completely"): "Wheelchair access",
        ("ambience", "quiet"): "Quiet",
        ("ambience", "familiar"): "Family ambience",
        ("franchise", "t"): "Franchise",
        ("area", "open"): "Outdoors",
        ("other_services", "Internet"): "Internet",
        ("parking", "yes"): "Parking",
        ("parking", "public"): "Public parking",
        ("parking", "valet parking"): "Valet parking",
    }
)
"""What a place's attributes mean in words; what a place has not is left unsaid."""


def ready_index(source: str | None, workspace: Workspace, settings: Settings) -> SearchIndex:
    """The index of a source's places: the workspace's where its files are unchanged, else built and kept there.

    Raises NotFound for an unknown source, or one whose files are not here.
    """
    source = source or GUIDE
    if source not in SOURCES:
        raise NotFound(f"There is no source of places {source!r}.", next_step=f"Sources are {', '.join(SOURCES)}.")
    origin = resolve(source, workspace, settings)
    fingerprint = _fingerprint(origin, settings.seed)
    folder = workspace.search / source
    if (folder / "index.json").is_file() and read_manifest(folder).fingerprint == fingerprint:
        return open_index(folder)
    workspace.search.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.search) as scratch:
        fresh = Path(scratch) / source
        build_index(read_places(origin, settings.seed), fresh, data_source=origin.label, fingerprint=fingerprint)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return open_index(folder)


def read_places(origin: Origin, seed: int) -> list[Place]:
    """The places of a source; rows that break its rules are left out. Saltmere's are drawn from the seed."""
    if origin.path is None:
        return invented_places(seed)
    if origin.dataset == DINERS:
        return diners_places(load_diners(origin.path))
    relation = read_relation(origin.path, dataset(GUIDE), "restaurants")
    return guide_places(relation.rows[relation.judge().good], read_labels())


def invented_places(seed: int) -> list[Place]:
    """Saltmere's restaurants with their hours; as the guide's, under the city's name."""
    guide = build_guide(seed)
    places = guide_places(guide.table.assign(city=CITY_NAME.lower()), read_labels())
    is_diner = np.array(["Diners" in place.cuisines for place in places])
    weeks = draw_hours(seed, is_diner, guide.traits["lively"])
    return [msgspec.structs.replace(place, hours=week) for place, week in zip(places, weeks, strict=True)]


def diners_places(diners: Diners) -> list[Place]:
    """Places of the three cities, with their hours where they are known."""
    return [
        Place(
            id=f"{row.place_id}",
            name=str(row.name),
            city=str(row.city),
            timezone=TIMEZONE,
            cuisines=tuple(name.replace("_", " ") for name in row.cuisines or ()),
            features=tuple(said for (column, value), said in OFFERS.items() if getattr(row, column) == value),
            price=_PRICES[str(row.price)],
            hours=diners.hours.get(int(row.place_id)),
        )
        for row in diners.places.itertuples(index=False)
    ]


def _fingerprint(origin: Origin, seed: int) -> str:
    """SHA-256 of the source's files and their names, or of the seed of what is invented."""
    digest = hashlib.sha256(b"" if origin.path else f"{origin.label}:{seed}".encode())
    for file in data_files(origin.path) if origin.path else ():
        digest.update(f"{file.name}:{sha256(file)}\n".encode())
    return digest.hexdigest()
