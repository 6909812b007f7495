"""Changes that wait: puts and deletes on top of a snapshot, seen by their own reads, sent when all is done."""

from collections.abc import Iterator, Sequence

from bottega.features.storage import Content, Reading


class Changes:
    """`before` as Writing: what was put or deleted since is kept here, by key; None stands for a deleted one."""

    version: int | None = None

    def __init__(self, before: Reading) -> None:
        self._before = before
        self.changed: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> Content | None:
        return self.changed[key] if key in self.changed else self._before.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        asked = [key for key in keys if key not in self.changed]
        found = dict(zip(asked, self._before.get_many(asked), strict=True)) if asked else {}
        return [self.changed[key] if key in self.changed else found[key] for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        mine = {key: content for key, content in self.changed.items() if key.startswith(prefix)}
        merged = {**dict(self._before.scan(prefix)), **mine}
        for key in sorted(merged):
            content = merged[key]
            if content is not None:
                yield key, content

    def put(self, key: bytes, content: bytes | memoryview) -> None:
        self.changed[key] = bytes(content)

    def put_many(self, items: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        self.changed.update((key, bytes(content)) for key, content in items)

    def delete(self, key: bytes) -> None:
        self.changed[key] = None
