"""Both databases keep the same promises: whole writes or none, exact prefixes, plain words when they are down."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import Conflict, InvalidInput, StorageError, Unavailable, Unsupported
from bottega.features import Entity, FeatureView, count, max, mean
from bottega.features.online import OnlineStore
from bottega.features.parity import store_parity
from bottega.features.storage import Storage, open_storage

SERVER = importlib.util.spec_from_file_location("redis_server", Path(__file__).with_name("redis_server.py"))
assert SERVER is not None and SERVER.loader is not None
redis_server = importlib.util.module_from_spec(SERVER)
SERVER.loader.exec_module(redis_server)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    server = redis_server.RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["lmdb", pytest.param("redis", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "lmdb":
        return open_storage(tmp_path / "store")
    server = request.getfixturevalue("redis")
    opened = open_storage(server.address)
    opened._redis.flushall()  # type: ignore[attr-defined]
    return opened


def test_nothing_is_there_until_the_first_write(storage: Storage):
    assert not storage.exists()
    storage.write(lambda t: t.put(b"a", b"1"))
    assert storage.exists()
    assert storage.read(lambda t: bytes(t.get(b"a") or b"")) == b"1"


def test_prefixes_are_exact_and_in_order_also_within_a_write(storage: Storage):
    keys = [b"\0\1", b"\0\1\0", b"\0\1\xff", b"\0\1\xff\xff\xff", b"\0\2", b"\1", b"view:a"]
    storage.write(lambda t: t.put_many([(key, key + b"!") for key in sorted(keys)]))
    assert storage.read(lambda t: list(t.scan(b"\0\1"))) == [(key, key + b"!") for key in keys[:4]]

    def change(t):
        t.delete(b"\0\1")
        t.put(b"\0\1\7", b"new")
        return [key for key, _ in t.scan(b"\0\1")]

    expected = [b"\0\1\0", b"\0\1\7", b"\0\1\xff", b"\0\1\xff\xff\xff"]
    assert storage.write(change) == expected
    assert storage.read(lambda t: [key for key, _ in t.scan(b"\0\1")]) == expected
    got = storage.read(lambda t: [None if c is None else bytes(c) for c in t.get_many([b"\1", b"none", b"view:a"])])
    assert got == [b"\1!", None, b"view:a!"]


def test_a_write_that_fails_changes_nothing(storage: Storage):
    storage.write(lambda t: t.put(b"a", b"1"))

    def fail(t):
        t.put(b"a", b"2")
        t.delete(b"a")
        raise ValueError("in the midst of it")

    with pytest.raises(ValueError, match="in the midst"):
        storage.write(fail)
    assert storage.read(lambda t: bytes(t.get(b"a") or b"")) == b"1"


def test_two_writers_add_up(storage: Storage):
    storage.write(lambda t: t.put(b"n", b"0"))

    def add(t):
        t.put(b"n", str(int(bytes(t.get(b"n") or b"0")) + 1).encode())

    def work():
        for _ in range(20):
            while True:
                try:
                    storage.write(add)
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read(lambda t: bytes(t.get(b"n") or b"")) == b"60"


def test_the_online_store_answers_the_same_on_either(storage: Storage, trips, tmp_path, request):
    view = FeatureView(
        "v",
        Entity("zone", ("zone",)),
        "trips",
        "dropoff_at",
        [count().over("1h", "7d"), mean("speed_kmh").over("24h"), max("speed_kmh").over("24h")],
        keys=("pu_zone",),
    )
    where = request.getfixturevalue("redis").address if "redis" in request.node.name else tmp_path / "store"
    store = OnlineStore(where)
    for begin in range(0, 4000, 1000):
        store.ingest(view, trips.iloc[begin : begin + 1000], offset=begin)
    found = store_parity(view, {"trips": trips}, store, trips, "pickup_at", ["pu_zone"])
    assert (found.values, found.mismatches) == (16_000, 0)
    assert store.offset("v", "trips") == 4000
    store.trim("v", int(np.iinfo(np.int64).max) // 4)
    store.drop("v")
    assert store.definitions() == ()


@pytest.mark.slow
def test_redis_killed_in_the_midst_keeps_whole_writes(tmp_path):
    server = redis_server.RedisServer(tmp_path)
    storage = open_storage(server.address)
    stopped, done = threading.Event(), [0]

    def work():
        while not stopped.is_set():
            n = done[0] + 1
            try:
                storage.write(lambda t, n=n: t.put_many([(f"k{i}".encode(), str(n).encode()) for i in range(500)]))
                done[0] = n
            except (Unavailable, StorageError):
                stopped.wait(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    rng = np.random.default_rng(1)
    for _ in range(5):
        stopped.wait(float(rng.uniform(0.05, 0.3)))
        server.kill()
        answered = done[0]
        server.start()
        seen = storage.read(lambda t: t.get_many([f"k{i}".encode() for i in range(500)]))
        assert len(set(map(bytes, seen))) == 1
        assert int(bytes(seen[0])) >= answered
    stopped.set()
    worker.join()
    server.kill()
    with pytest.raises(Unavailable, match=r"does not answer.*Start it"):
        storage.read(lambda t: t.get(b"k0"))


@pytest.mark.slow
def test_redis_without_memory_or_with_a_password_says_so(tmp_path):
    server = redis_server.RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    storage = open_storage(server.address)
    with pytest.raises(StorageError, match="no memory left: nothing was changed"):
        for n in range(100):
            storage.write(lambda t, n=n: t.put(f"k{n}".encode(), b"x" * 100_000))
    server.kill()
    locked = redis_server.RedisServer(tmp_path, "--requirepass", "secret")
    with pytest.raises(Unavailable, match=r"refuses the password|Authentication"):
        open_storage(f"redis://:wrong@127.0.0.1:{locked.port}/0").exists()
    locked.kill()


def test_wrong_addresses_say_what_is_wrong(monkeypatch):
    with pytest.raises(Unavailable, match=r"Redis at 127\.0\.0\.1:1/0 does not answer"):
        OnlineStore("redis://127.0.0.1:1/0").definitions()
    with pytest.raises(InvalidInput, match="is no address of a Redis database"):
        open_storage("redis://127.0.0.1:port/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(Unsupported, match=r"pip install 'bottega\[redis\]'"):
        open_storage("redis://127.0.0.1:1/0")
