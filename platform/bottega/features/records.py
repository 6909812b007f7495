"""What lies in the online store: definitions, the stream's state, entities' chunks and event ids, as keys and bytes.

Keys: `view:<name>` and `stream:<name>` as text; a chunk's key is a zero byte, the view's number, the entity's keys and
the chunk's number; the ids of a tile's events lie under a one byte, the view's number, the source's and the tile.
"""

import itertools
import struct
from dataclasses import dataclass

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.features import chunks, kernel
from bottega.features.chunks import CHUNK
from bottega.features.definition import Definition, Layout, layout_of
from bottega.features.storage import Content, Reading, Writing
from bottega.features.tiles import Cells, Tiles

_CHUNKS, _IDS = b"\0", b"\1"
_NUMBER, CHUNK_ID, _TILE = struct.Struct(">I"), struct.Struct(">I"), struct.Struct(">q")
LAST_CHUNK = 2**32 - 1
"""The largest number of a chunk."""
RECORDS_AT_ONCE = 4096
_LONGEST_KEY = 400


class _Stored(msgspec.Struct, frozen=True):
    number: int
    definition: Definition


class Stream(msgspec.Struct, frozen=True):
    """How far a view's streams have come: the next position of each source's log, the newest arrival, refusals."""

    offsets: dict[str, int] = {}
    newest_us: int | None = None
    refused: dict[str, int] = {}


@dataclass(frozen=True, eq=False)
class Entry:
    """A view in the store: the prefixes of its chunks' and ids' keys, its definition, and the layout that follows.

    `names` maps a feature to its place; `numbers` is how many whole-number keys an entity has, -1 for text keys.
    """

    prefix: bytes
    ids_prefix: bytes
    definition: Definition
    layout: Layout
    names: dict[str, int]
    numbers: int

    @classmethod
    def decode(cls, content: Content) -> "Entry":
        """Read what `declare` wrote."""
        stored = msgspec.json.decode(content, type=_Stored)
        number = _NUMBER.pack(stored.number)
        definition = stored.definition
        names = {feature.name: i for i, feature in enumerate(definition.features)}
        numbers = -1 if definition.key_dtype == "string" else len(definition.keys)
        return cls(_CHUNKS + number, _IDS + number, definition, layout_of(definition), names, numbers)

    def chunk_keys(self, keys: tuple[np.ndarray, ...], chunk: np.ndarray) -> list[bytes]:
        """The records' keys of entities and chunks, (n,) each; whole-number keys in one go.

        InvalidInput for a text key that is too long or holds a zero character.
        """
        if self.definition.key_dtype == "string":
            texts = zip(*keys, strict=True) if keys else itertools.repeat(())
            return [self._text_prefix(text) + CHUNK_ID.pack(c) for text, c in zip(texts, chunk.tolist(), strict=False)]
        start, width = len(self.prefix), len(self.prefix) + 8 * len(keys) + 4
        packed = np.empty((len(chunk), width), np.uint8)
        packed[:, :start] = np.frombuffer(self.prefix, np.uint8)
        for i, key in enumerate(keys):
            packed[:, start + 8 * i : start + 8 * (i + 1)] = key.astype(">i8").view(np.uint8).reshape(-1, 8)
        packed[:, -4:] = chunk.astype(">u4").view(np.uint8).reshape(-1, 4)
        whole = packed.tobytes()
        return [whole[i : i + width] for i in range(0, len(whole), width)]

    def entity_prefix(self, keys: tuple[int, ...]) -> bytes:
        """What the records' keys of an entity with whole-number keys begin with."""
        return self.prefix + (_TILE.pack(keys[0]) if len(keys) == 1 else b"".join(map(_TILE.pack, keys)))

    def _text_prefix(self, keys: tuple[object, ...]) -> bytes:
        text = "".join(f"{key}\0" for key in keys)
        if text.count("\0") != len(keys) or len(text.encode()) > _LONGEST_KEY:
            raise InvalidInput(
                f"The key {keys!r} of view {self.definition.view!r} is too long or holds a zero character.",
                next_step=f"Keys have at most {_LONGEST_KEY - len(keys)} bytes.",
            )
        return self.prefix + text.encode()

    def ids_key(self, source: int, tile: int) -> bytes:
        """Key of the ids of one tile's events from the view's source of that number."""
        return self.ids_prefix + bytes((source,)) + _TILE.pack(tile)


def entry_key(view: str) -> bytes:
    """Key of a view's definition."""
    return b"view:" + view.encode()


def stream_key(view: str) -> bytes:
    """Key of a view's stream state."""
    return b"stream:" + view.encode()


def read_stream(transaction: Reading, view: str) -> Stream:
    """A view's stream state; that of an untouched one where there is none."""
    stored = transaction.get(stream_key(view))
    return Stream() if stored is None else msgspec.json.decode(stored, type=Stream)


def write_stream(transaction: Writing, view: str, stream: Stream) -> None:
    """Set a view's stream state."""
    transaction.put(stream_key(view), msgspec.json.encode(stream))


def entries(transaction: Reading) -> list[Entry]:
    """All views in the store."""
    return [Entry.decode(content) for _, content in transaction.scan(b"view:")]


def declare(transaction: Writing, definition: Definition) -> Entry:
    """Note a view's definition; Conflict where the store's tiles do not fit it."""
    stored = [msgspec.json.decode(content, type=_Stored) for _, content in transaction.scan(b"view:")]
    same = next((s for s in stored if s.definition.view == definition.view), None)
    if same is not None and not definition.fits(same.definition):
        raise Conflict(
            f"The online store holds view {definition.view!r} with another tile, key, lateness or aggregation.",
            next_step="Drop it there (OnlineStore.drop) and materialise it again, or give the new view another name.",
        )
    number = same.number if same is not None else max((s.number for s in stored), default=0) + 1
    content = msgspec.json.encode(_Stored(number, definition))
    if same is None or same.definition != definition:
        transaction.put(entry_key(definition.view), content)
    return Entry.decode(content)


def write_tiles(transaction: Writing, entry: Entry, tiles: Tiles) -> None:
    """Add tiles to what the store has."""
    on_time, late = _codes(tiles.on_time), _codes(tiles.late)
    codes = np.union1d(on_time, late)
    first = np.append(np.searchsorted(on_time, codes), len(on_time))
    late_first = np.append(np.searchsorted(late, codes), len(late))
    entity, chunk = codes >> 32, codes & LAST_CHUNK
    for begin in range(0, len(codes), RECORDS_AT_ONCE):
        part = slice(begin, begin + RECORDS_AT_ONCE)
        edges = slice(begin, begin + RECORDS_AT_ONCE + 1)
        keys = entry.chunk_keys(tuple(key[entity[part]] for key in tiles.keys), chunk[part])
        old = transaction.get_many(keys)
        merged = _merge(entry.layout, old, tiles, first[edges], late_first[edges])
        transaction.put_many(list(zip(keys, merged, strict=True)))


def _codes(cells: Cells) -> np.ndarray:
    """One ascending number for each cell's entity and chunk."""
    chunk = cells.tile // CHUNK
    if len(chunk) and not 0 <= chunk.min() <= chunk.max() <= LAST_CHUNK:
        wrong = cells.tile[(chunk < 0) | (chunk > LAST_CHUNK)][0]
        raise InvalidInput(
            f"An event lies in tile {wrong}, which the online store cannot hold.",
            next_step="Event times lie after 1970 and within a million years.",
        )
    return (cells.entity << 32) | chunk


def _merge(
    layout: Layout, old: list[Content | None], tiles: Tiles, first: np.ndarray, late_first: np.ndarray
) -> list[bytes] | list[memoryview]:
    compiled = kernel.load()
    if compiled is not None:
        return compiled.merge(layout, old, tiles.on_time, first, tiles.late, late_first)
    cuts = zip(itertools.pairwise(first.tolist()), itertools.pairwise(late_first.tolist()), strict=True)
    return [
        chunks.merge(layout, content, tiles.on_time.take(np.arange(*on_time)), tiles.late.take(np.arange(*late)))
        for content, (on_time, late) in zip(old, cuts, strict=True)
    ]


def clear_tiles(transaction: Writing, entry: Entry, first_tile: int, end_tile: int) -> None:
    """Remove a view's tiles first_tile to end_tile (exclusive), with their late events and ids."""
    for key, content in list(transaction.scan(entry.prefix)):
        chunk = CHUNK_ID.unpack(key[-4:])[0]
        if (chunk + 1) * CHUNK <= first_tile or chunk * CHUNK >= end_tile:
            continue
        found = chunks.unpack(content, entry.layout)
        parts = [
            part.take(np.flatnonzero((part.tile < first_tile) | (part.tile >= end_tile)))
            for part in (found.on_time, found.late)
        ]
        _put_or_delete(transaction, entry.layout, key, parts[0], parts[1])
    _clear_ids(transaction, entry, first_tile, end_tile)


def trim_tiles(transaction: Writing, entry: Entry, first_tile: int, before_us: int) -> None:
    """Remove tiles before `first_tile` and their ids, and count late events known before a moment as on time."""
    for key, content in list(transaction.scan(entry.prefix)):
        found = chunks.fold(entry.layout, chunks.unpack(content, entry.layout), before_us)
        parts = [part.take(np.flatnonzero(part.tile >= first_tile)) for part in (found.on_time, found.late)]
        _put_or_delete(transaction, entry.layout, key, parts[0], parts[1])
    lateness_tiles = -(-entry.definition.lateness_s // entry.definition.tile_s)
    _clear_ids(transaction, entry, 0, before_us // entry.layout.tile_us - lateness_tiles - 1)


def _put_or_delete(transaction: Writing, layout: Layout, key: bytes, on_time: Cells, late: Cells) -> None:
    if len(on_time) or len(late):
        transaction.put(key, chunks.pack(layout, on_time, late))
    else:
        transaction.delete(key)


def _clear_ids(transaction: Writing, entry: Entry, first_tile: int, end_tile: int) -> None:
    for key, _ in list(transaction.scan(entry.ids_prefix)):
        if first_tile <= _TILE.unpack(key[-8:])[0] < end_tile:
            transaction.delete(key)


def read_ids(transaction: Reading, entry: Entry, source: int, tiles: np.ndarray, width: int) -> np.ndarray:
    """The identities of all of a source's events in these tiles, (n, width) int64."""
    found = transaction.get_many([entry.ids_key(source, tile) for tile in tiles.tolist()])
    rows = [np.frombuffer(content, np.int64).reshape(-1, width) for content in found if content is not None]
    return np.concatenate([np.empty((0, width), np.int64), *rows])


def write_ids(transaction: Writing, entry: Entry, source: int, identity: np.ndarray) -> None:
    """Set a source's identities in every tile that is among them; column 0 is the tile."""
    ranked = identity[np.argsort(identity[:, 0], kind="stable")]
    tiles, first = np.unique(ranked[:, 0], return_index=True)
    parts = np.split(ranked, first[1:])
    keyed = zip(tiles.tolist(), parts, strict=True)
    transaction.put_many([(entry.ids_key(source, tile), part.tobytes()) for tile, part in keyed])
