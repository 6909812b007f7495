"""What lies in the online store: definitions, the stream's state, entities' records and event ids, as keys and bytes.

Keys: `view:<name>` and `stream:<name>` as text; a record's key is a zero byte, the view's number, the entity's keys and
the number of the span of tiles that it covers; the ids of a tile's events lie under a one byte, the view's number, the
source's and the tile.

New events go to an entity's record TAIL, whatever their tile, so that one event rewrites little; a tail that has grown
is joined into the records of its spans. A read takes the tail and the spans together.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.features import chunks, kernel
from bottega.features.chunks import EVER, Chunk
from bottega.features.definition import Definition, Layout, layout_of
from bottega.features.storage import Content, Reading, Writing
from bottega.features.tiles import Tiles

_ENTITIES, _IDS = b"\0", b"\1"
_NUMBER, SPAN_ID, KEY = struct.Struct(">I"), struct.Struct(">I"), struct.Struct(">q")
SPAN = 8192
"""Tiles that one record covers: 28 days of five minutes."""
LAST_SPAN = 2**32 - 2
TAIL = SPAN_ID.pack(2**32 - 1)
TAIL_BYTES = 1900
"""A tail's size from which it is joined into its spans: LMDB keeps larger values in pages of their own."""
RECORDS_AT_ONCE = 512
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
    """A view in the store: the prefixes of its records' and ids' keys, its definition, and the layout that follows.

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
        return cls(_ENTITIES + number, _IDS + number, definition, layout_of(definition), names, numbers)

    def record_names(self, keys: tuple[np.ndarray, ...], ends: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The keys of records of entities, one after the other, each entity's with their own ends.

        InvalidInput for a text key that is too long or holds a zero character.
        """
        prefixes = self._prefixes(keys, len(ends))
        return [prefix + end for prefix, mine in zip(prefixes, ends, strict=True) for end in mine]

    def _prefixes(self, keys: tuple[np.ndarray, ...], size: int) -> list[bytes]:
        entities = zip(*(key.tolist() for key in keys), strict=True) if keys else [()] * size
        if self.definition.key_dtype == "string":
            return [self.prefix + text_key(self.definition.view, entity) for entity in entities]
        pack, prefix = KEY.pack, self.prefix
        if len(keys) == 1:
            return [prefix + pack(key) for key in keys[0].tolist()]
        return [prefix + b"".join(map(pack, entity)) for entity in entities]

    def ids_key(self, source: int, tile: int) -> bytes:
        """Key of the ids of one tile's events from the view's source of that number."""
        return self.ids_prefix + bytes((source,)) + KEY.pack(tile)


def text_key(view: str, keys: tuple[object, ...]) -> bytes:
    """How text keys of an entity stand in its records' keys; InvalidInput where they cannot."""
    text = "".join(f"{key}\0" for key in keys).encode()
    if text.count(0) != len(keys) or len(text) > _LONGEST_KEY:
        raise InvalidInput(
            f"The key {keys!r} of view {view!r} is too long or holds a zero character.",
            next_step=f"Keys have at most {_LONGEST_KEY - len(keys)} bytes.",
        )
    return text


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
            next_step=f"Run 'bottega features drop {definition.view}' and materialise it again, or rename this one.",
        )
    number = same.number if same is not None else max((s.number for s in stored), default=0) + 1
    content = msgspec.json.encode(_Stored(number, definition))
    if same is None or same.definition != definition:
        transaction.put(entry_key(definition.view), content)
    return Entry.decode(content)


def span_ids(first_tile: int, last_tile: int) -> list[bytes]:
    """How the keys of the records end that cover tiles first to last; only spans that a record can have."""
    first, last = max(first_tile // SPAN, 0), min(last_tile // SPAN, LAST_SPAN)
    return [SPAN_ID.pack(span) for span in range(first, last + 1)]


def write_tiles(transaction: Writing, entry: Entry, tiles: Tiles) -> None:
    """Add tiles to what the store has."""
    _check_tiles(tiles.whole.tile)
    entities = int(tiles.whole.entity[-1]) + 1 if len(tiles.whole) else 0
    edges = np.arange(entities + 1)
    whole_first, parts_first = (np.searchsorted(cells.entity, edges) for cells in (tiles.whole, tiles.parts))
    for begin in range(0, entities, RECORDS_AT_ONCE):
        some = slice(begin, min(begin + RECORDS_AT_ONCE, entities))
        tails = entry.record_names(tuple(key[some] for key in tiles.keys), [(TAIL,)] * (some.stop - begin))
        old = transaction.get_many(tails)
        bounds = slice(begin, some.stop + 1)
        grown = _add_rows(entry.layout, old, tiles, whole_first[bounds], parts_first[bounds])
        large = [i for i, content in enumerate(grown) if len(content) > TAIL_BYTES]
        _join_spans(transaction, entry, [tails[i] for i in large], [grown[i] for i in large])
        for i in large:
            if old[i] is not None:
                transaction.delete(tails[i])
        small = [i for i, content in enumerate(grown) if len(content) <= TAIL_BYTES]
        transaction.put_many([(tails[i], grown[i]) for i in small])


def _check_tiles(tile: np.ndarray) -> None:
    wrong = (tile < 0) | (tile >= SPAN * (LAST_SPAN + 1))
    if wrong.any():
        raise InvalidInput(
            f"An event lies in tile {tile[wrong][0]}, which the online store cannot hold.",
            next_step="Event times lie after 1970 and within a million years.",
        )


def _join_spans(transaction: Writing, entry: Entry, tail_names: Sequence[bytes], tails: Sequence[Content]) -> None:
    """Join tails into the records of the spans in which their tiles lie."""
    names, parts, ranges = [], [], []
    for name, tail in zip(tail_names, tails, strict=True):
        for span in np.unique(chunks.tiles_in(tail) // SPAN).tolist():
            names.append(name.removesuffix(TAIL) + SPAN_ID.pack(span))
            parts.append(tail)
            ranges.append((span * SPAN, (span + 1) * SPAN))
    joined = _join(entry.layout, transaction.get_many(names), [EVER] * len(names), parts, ranges)
    transaction.put_many(list(zip(names, joined, strict=True)))


def _add_rows(
    layout: Layout, old: list[Content | None], tiles: Tiles, whole_first: np.ndarray, parts_first: np.ndarray
) -> Sequence[Content]:
    compiled = kernel.load()
    if compiled is not None:
        return compiled.add_rows(layout, old, tiles, whole_first, parts_first)
    cuts = zip(itertools.pairwise(whole_first.tolist()), itertools.pairwise(parts_first.tolist()), strict=True)
    more = [Chunk(tiles.whole.take(np.arange(*w)), tiles.parts.take(np.arange(*p))) for w, p in cuts]
    return [
        chunks.pack(layout, new if content is None else chunks.join(layout, chunks.unpack(content, layout), new))
        for content, new in zip(old, more, strict=True)
    ]


Range = tuple[int, int]


def _join(
    layout: Layout,
    one: Sequence[Content | None],
    ranges: Sequence[Range],
    other: Sequence[Content | None],
    other_ranges: Sequence[Range],
    settled: int = EVER[0],
) -> Sequence[Content]:
    """Records joined in pairs, of each the tiles in its range, without parts of tiles before `settled`."""
    compiled = kernel.load()
    if compiled is not None:
        return compiled.join(layout, one, np.array(ranges), other, np.array(other_ranges), settled)
    sides = [
        [
            chunks.unpack(c, layout).between(*r) if c is not None else Chunk.empty(layout)
            for c, r in zip(cs, rs, strict=True)
        ]
        for cs, rs in ((one, ranges), (other, other_ranges))
    ]
    return [chunks.pack(layout, chunks.join(layout, a, b, settled)) for a, b in zip(*sides, strict=True)]


def clear_tiles(transaction: Writing, entry: Entry, first_tile: int, end_tile: int) -> None:
    """Remove a view's tiles first_tile to end_tile (exclusive), with their late events and ids."""
    before, after = (EVER[0], first_tile), (end_tile, EVER[1])
    for names, contents in _all_records(transaction, entry):
        size = len(names)
        kept = _join(entry.layout, contents, [before] * size, contents, [after] * size)
        _put_changed(transaction, names, contents, kept)
    _clear_ids(transaction, entry, first_tile, end_tile)


def trim_tiles(transaction: Writing, entry: Entry, before_us: int) -> None:
    """Forget what no read at or after a moment needs: old tiles, which events of a tile came late, and old ids."""
    layout = entry.layout
    now = before_us // layout.tile_us
    for names, contents in _all_records(transaction, entry):
        size, nothing = len(names), [None] * len(names)
        wanted = [(now - layout.longest, EVER[1])] * size
        kept = _join(layout, contents, wanted, nothing, wanted, now - layout.unsettled)
        _put_changed(transaction, names, contents, kept)
    _clear_ids(transaction, entry, 0, now - layout.unsettled - 1)


def _all_records(transaction: Writing, entry: Entry) -> Iterator[tuple[list[bytes], list[Content | None]]]:
    """The names and contents of a view's records, some at a time."""
    names = [name for name, _ in transaction.scan(entry.prefix)]
    for begin in range(0, len(names), RECORDS_AT_ONCE):
        some = names[begin : begin + RECORDS_AT_ONCE]
        yield some, transaction.get_many(some)


def _put_changed(transaction: Writing, names: list[bytes], old: list[Content | None], new: Sequence[Content]) -> None:
    """Write the records that are not as they were; what holds no tile any more is removed."""
    changed = [
        (name, content)
        for name, before, content in zip(names, old, new, strict=True)
        if content is not before and (before is None or bytes(before) != bytes(content))
    ]  # all are compared before one is written: a write moves what the old ones show
    transaction.put_many([(name, content) for name, content in changed if chunks.tile_count(content)])
    for name, content in changed:
        if not chunks.tile_count(content):
            transaction.delete(name)


def _clear_ids(transaction: Writing, entry: Entry, first_tile: int, end_tile: int) -> None:
    for key, _ in list(transaction.scan(entry.ids_prefix)):
        if first_tile <= KEY.unpack(key[-8:])[0] < end_tile:
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
