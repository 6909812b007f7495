"""The search index as a folder of plain files: JSON, arrays and tantivy's index. Opening it runs no code from it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bottega.errors import InvalidData, NotFound
from bottega.files import write_atomic
from bottega.ranking.lexical import LexicalIndex, texts
from bottega.ranking.place import Place
from bottega.ranking.search import SearchIndex
from bottega.ranking.space import Space
from bottega.ranking.words import stems, words

FORMAT = 1
MANIFEST = "index.json"
ARRAYS = ("rarity", "mapping", "points")


class Manifest(msgspec.Struct, frozen=True):
    """What the folder holds: the places, how many of them have each word, and which words have a meaning.

    `data_source` says where the places come from, `fingerprint` is the SHA-256 of what they were read from.
    """

    format: int
    data_source: str
    fingerprint: str
    places: tuple[Place, ...]
    vocabulary: dict[str, int]
    meanings: tuple[str, ...]


def build_index(
    places: Sequence[Place], folder: Path, *, data_source: str = "", fingerprint: str = "", dimensions: int = 128
) -> SearchIndex:
    """Write the index of these places into a folder that does not exist yet, and open it.

    Raises InvalidData for fewer than two places, or where two have the same id.
    """
    from bottega.ranking.semantic import learn_space  # scipy: a server opens indexes and builds none

    twice = [name for name, count in Counter(place.id for place in places).items() if count > 1]
    if twice or len(places) < 2:
        what = f"Two places have the id {twice[0]!r}" if twice else f"There are {len(places)} places"
        raise InvalidData(f"{what}: an index needs two or more, each with its own id.")
    LexicalIndex.build(places, folder / "lexical")
    said = [" ".join(texts(place).values()) for place in places]
    counts = Counter(word for text in said for word in set(words(text)))
    space = learn_space([stems(text) for text in said], dimensions=dimensions)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(space, name))
    manifest = Manifest(FORMAT, data_source, fingerprint, tuple(places), dict(sorted(counts.items())), space.vocabulary)
    write_atomic(folder / MANIFEST, msgspec.json.encode(manifest))  # the last: a folder without it is no index
    return open_index(folder)


def read_manifest(folder: Path) -> Manifest:
    """What an index holds. Raises NotFound where there is none, InvalidData where it is damaged or foreign."""
    file = folder / MANIFEST
    if not file.is_file():
        raise NotFound(f"{folder} holds no search index.", next_step="Build one with 'bottega search TEXT'.")
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise InvalidData(f"{file} is damaged: {error}.", next_step=f"Remove {folder}: it is built again.") from None
    if manifest.format != FORMAT:
        raise InvalidData(
            f"{folder} has format {manifest.format}, this Bottega reads {FORMAT}.", next_step="Remove it."
        )
    return manifest


def open_index(folder: Path) -> SearchIndex:
    """Open an index; raises as `read_manifest` does."""
    manifest = read_manifest(folder)
    try:
        rarity, mapping, points = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS)
        lexical = LexicalIndex.open(folder / "lexical")
    except (OSError, ValueError, EOFError) as error:
        raise InvalidData(f"{folder} is damaged: {error}.", next_step="Remove it: it is built again.") from None
    words_agree = len(rarity) == len(mapping) == len(manifest.meanings)
    if not (words_agree and len(points) == len(manifest.places) == lexical.places):
        raise InvalidData(f"{folder} is damaged: its parts do not belong together.", next_step="Remove it.")
    return SearchIndex(
        manifest.places,
        manifest.vocabulary,
        lexical,
        Space(manifest.meanings, rarity, mapping, points),
        manifest.data_source,
    )
