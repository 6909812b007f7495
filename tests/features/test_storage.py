"""Both databases keep the same promises: whole writes or none, one snapshot a read, exact prefixes."""

import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import InvalidInput, Unavailable, Unsupported
from bottega.features import Entity, FeatureView, count, max, mean
from bottega.features.online import OnlineStore
from bottega.features.parity import store_parity
from bottega.features.storage import Reading, Storage, Writing, open_storage

REDIS = pytest.param("redis", marks=() if shutil.which("redis-server") else pytest.mark.slow)


@pytest.fixture(scope="module")
def redis(start_redis, tmp_path_factory):
    return start_redis(tmp_path_factory.mktemp("redis"))


@pytest.fixture(params=["lmdb", REDIS])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty database."""
    if request.param == "lmdb":
        return tmp_path / "store"
    server = request.getfixturevalue("redis")
    open_storage(server.address)._reader.flushall()  # type: ignore[attr-defined]
    return server.address


@pytest.fixture
def storage(address: Path | str) -> Storage:
    return open_storage(address)


def get(storage: Storage, key: bytes) -> bytes | None:
    return storage.read(lambda t: None if (found := t.get(key)) is None else bytes(found))


def test_reading_finds_and_creates_nothing_before_the_first_write(address, storage):
    assert storage.read(lambda t: (t.get(b"a"), t.get_many([b"a", b"b"]), list(t.scan(b"")))) == (None, [None] * 2, [])
    assert not storage.exists()
    assert not isinstance(address, Path) or not address.exists()
    storage.write(lambda t: t.put(b"a", b"1"))
    assert storage.exists()
    assert get(storage, b"a") == b"1"


def test_prefixes_are_exact_and_in_order_also_within_a_write(storage):
    keys = [b"\0\1", b"\0\1\0", b"\0\1\xff", b"\0\1" + b"\xff" * 20, b"\0\2", b"\1", b"view:a", b"\xff", b"\xff\xff\1"]
    storage.write(lambda t: t.put_many([(key, key + b"!") for key in sorted(keys)]))
    assert storage.read(lambda t: list(t.scan(b"\0\1"))) == [(key, key + b"!") for key in keys[:4]]
    assert storage.read(lambda t: [key for key, _ in t.scan(b"\xff")]) == keys[-2:]
    assert storage.read(lambda t: [key for key, _ in t.scan(b"")]) == keys
    assert storage.read(lambda t: list(t.scan(b"\0\1\1"))) == []

    def change(t: Writing) -> list[bytes]:
        t.delete(b"\0\1")
        t.put(b"\0\1\7", b"new")
        return [key for key, _ in t.scan(b"\0\1")]

    expected = [b"\0\1\0", b"\0\1\7", b"\0\1\xff", b"\0\1" + b"\xff" * 20]
    assert storage.write(change) == expected
    assert storage.read(lambda t: [key for key, _ in t.scan(b"\0\1")]) == expected
    got = storage.read(lambda t: [None if c is None else bytes(c) for c in t.get_many([b"\1", b"none", b"view:a"])])
    assert got == [b"\1!", None, b"view:a!"]


def test_a_write_sees_its_own_changes(storage):
    storage.write(lambda t: t.put_many([(b"a", b"1"), (b"b", b"2")]))

    def change(t: Writing) -> list[bytes | None]:
        t.put(b"a", b"new")
        t.delete(b"b")
        t.delete(b"never there")
        t.put(b"c", b"")
        return [None if c is None else bytes(c) for c in (t.get(b"a"), *t.get_many([b"b", b"a", b"c"]))]

    assert storage.write(change) == [b"new", None, b"new", b""]
    assert [get(storage, key) for key in (b"a", b"b", b"c")] == [b"new", None, b""]


def test_a_write_that_fails_changes_nothing(storage):
    storage.write(lambda t: t.put(b"a", b"1"))

    def fail(t: Writing) -> None:
        t.put(b"a", b"2")
        t.delete(b"a")
        raise ValueError("in the midst of it")

    with pytest.raises(ValueError, match="in the midst"):
        storage.write(fail)
    assert get(storage, b"a") == b"1"


def test_a_read_sees_one_moment_whatever_is_written_meanwhile(storage):
    keys = [str(i).encode() for i in range(2500)]

    def write(n: int) -> None:
        storage.write(lambda t: t.put_many([(key, b"%d" % n) for key in sorted(keys)]))

    def look(t: Reading) -> set[bytes]:
        seen = {bytes(c) for key in (keys[0], keys[-1]) if (c := t.get(key)) is not None}
        seen |= {bytes(c) for c in t.get_many(keys[:2000]) if c is not None}
        return seen | {content for _, content in t.scan(b"")}

    write(0)
    stopped, wrong = threading.Event(), []

    def read() -> None:
        while not stopped.is_set():
            seen = storage.read(look)
            if len(seen) != 1:
                wrong.append(seen)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 9):
        write(n)
        stopped.wait(0.1)
    stopped.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert storage.read(look) == {b"8"}


def test_a_reader_does_not_wait_for_a_writer_of_its_process(storage):
    storage.write(lambda t: t.put(b"a", b"old"))
    seen: list[bytes | None] = []

    def change(t: Writing) -> None:
        t.put(b"a", b"new")
        reader = threading.Thread(target=lambda: seen.append(get(storage, b"a")), daemon=True)
        reader.start()
        reader.join(timeout=20)

    storage.write(change)
    assert seen == [b"old"]
    assert get(storage, b"a") == b"new"


def test_the_same_version_holds_the_same(storage):
    storage.write(lambda t: t.put(b"a", b"1"))
    one = storage.read(lambda t: (t.version, bytes(t.get(b"a") or b"")))
    assert storage.read(lambda t: (t.version, bytes(t.get(b"a") or b""))) == one
    storage.write(lambda t: t.put(b"a", b"2"))
    other = storage.read(lambda t: (bytes(t.get(b"a") or b""), t.version))
    assert other[0] == b"2"
    assert other[1] is None or other[1] != one[0]


def test_writers_add_up(storage):
    storage.write(lambda t: t.put(b"n", b"0"))

    def add(t: Writing) -> None:
        t.put(b"n", str(int(bytes(t.get(b"n") or b"0")) + 1).encode())

    def work() -> None:
        for _ in range(20):
            storage.write(add)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(storage, b"n") == b"60"


def test_a_large_write_is_whole(storage):
    many = [(b"big%06d" % i, b"%d" % i) for i in range(100_000)]
    storage.write(lambda t: t.put_many(many))
    assert storage.read(lambda t: list(t.scan(b"big"))) == many
    assert storage.read(lambda t: [bytes(c or b"") for c in t.get_many([key for key, _ in many[:25_000]])]) == [
        content for _, content in many[:25_000]
    ]

    def drop(t: Writing) -> None:
        for key, _ in many[10:]:
            t.delete(key)

    storage.write(drop)
    assert storage.read(lambda t: list(t.scan(b"big"))) == many[:10]


def test_the_online_store_answers_the_same_on_either(address, trips):
    view = FeatureView(
        "v",
        Entity("zone", ("zone",)),
        "trips",
        "dropoff_at",
        [count().over("1h", "7d"), mean("speed_kmh").over("24h"), max("speed_kmh").over("24h")],
        keys=("pu_zone",),
    )
    store = OnlineStore(address)
    for begin in range(0, 4000, 1000):
        store.ingest(view, trips.iloc[begin : begin + 1000], offset=begin)
    found = store_parity(view, {"trips": trips}, store, trips, "pickup_at", ["pu_zone"])
    assert (found.values, found.mismatches) == (16_000, 0)
    assert store.offset("v", "trips") == 4000
    store.trim("v", int(np.iinfo(np.int64).max) // 4)
    store.drop("v")
    assert store.definitions() == ()


def test_wrong_addresses_say_what_is_wrong(monkeypatch):
    with pytest.raises(Unavailable, match=r"Redis at 127\.0\.0\.1:1/0 does not answer"):
        OnlineStore("redis://127.0.0.1:1/0").definitions()
    with pytest.raises(InvalidInput, match="is no address of a Redis database") as told:
        open_storage("redis://user:secret@127.0.0.1:port/0")
    assert "secret" not in str(told.value)
    with pytest.raises(InvalidInput, match="is no address of a Redis database"):
        open_storage("redis://127.0.0.1:1/0?colour=red")
    with pytest.raises(InvalidInput, match=r"No online store is known at memcached:// addresses"):
        open_storage("memcached://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(Unsupported, match=r"pip install 'bottega\[redis\]'"):
        open_storage("redis://127.0.0.1:1/0")
