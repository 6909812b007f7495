"""Redis: crashes, lost answers and servers that refuse. Each write takes effect once, whole, or it is said why not."""

import contextlib
import http.server
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottega.errors import Conflict, StorageError, Unavailable
from bottega.features.storage import Reading, Writing, open_storage

pytestmark = [] if shutil.which("redis-server") else [pytest.mark.slow]


@pytest.fixture(scope="module")
def redis(start_redis, tmp_path_factory):
    return start_redis(tmp_path_factory.mktemp("redis"))


def add(t: Writing) -> int:
    n = int(bytes(t.get(b"n") or b"0")) + 1
    t.put(b"n", b"%d" % n)
    return n


def counted(t: Reading) -> int:
    return int(bytes(t.get(b"n") or b"0"))


@contextlib.contextmanager
def losing_answers(port: int, lost: int) -> Iterator[str]:
    """An address from which the first `lost` answers to an EXEC never arrive, since the connection breaks."""
    left = [lost]

    def forward(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            answers = threading.Thread(target=back, args=(server, client), daemon=True)
            answers.start()
            while data := client.recv(1 << 16):
                breaks = b"EXEC" in data and left[0] > 0
                if breaks:
                    left[0] -= 1
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(data)
                if breaks:
                    break
            server.shutdown(socket.SHUT_WR)
            answers.join()

    def back(server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(1 << 16):
            with contextlib.suppress(OSError):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_a_write_whose_answer_was_lost_takes_effect_once(redis):
    direct = open_storage(redis.address)
    for lost in (1, 3):
        before = direct.read(counted)
        with losing_answers(redis.port, lost) as address:
            assert open_storage(address).write(add) == before + 1
        assert direct.read(counted) == before + 1


def test_a_write_that_changes_nothing_leaves_the_version(redis):
    storage = open_storage(redis.address)
    storage.write(add)
    before = storage.read(lambda t: (counted(t), t.version))
    assert storage.write(counted) == before[0]
    assert storage.read(lambda t: (counted(t), t.version)) == before


def test_where_others_always_come_first_it_gives_up(redis):
    one, other = (open_storage(redis.address) for _ in range(2))

    def overtaken(t: Writing) -> int:
        other.write(add)
        return add(t)

    def disturbed(t: Reading) -> int:
        seen = counted(t)
        other.write(add)
        return seen + counted(t)

    with pytest.raises(Conflict, match=r"came first \d+ times.*one process write"):
        one.write(overtaken)
    with pytest.raises(Unavailable, match=r"was written \d+ times in the midst of a read"):
        one.read(disturbed)


def test_a_database_that_was_emptied_is_read_as_empty(redis):
    storage = open_storage(redis.address)
    storage.write(add)
    assert storage.read(counted) > 0
    storage._reader.flushall()  # type: ignore[attr-defined]
    assert storage.read(counted) == 0
    assert storage.write(add) == 1


def test_nothing_lies_outside_its_prefix(redis):
    storage: Any = open_storage(redis.address)
    storage.write(add)
    assert all(key.startswith(b"bottega:") for key in storage._reader.scan_iter())


@pytest.mark.slow
def test_killed_in_the_midst_it_keeps_whole_writes(start_redis, tmp_path):
    server = start_redis(tmp_path)
    storage = open_storage(server.address)
    keys = [b"k%d" % i for i in range(2500)]
    stopped, done, tried = threading.Event(), [0], [0]

    def work() -> None:
        while not stopped.is_set():
            tried[0] += 1
            try:
                storage.write(lambda t: t.put_many([(key, b"%d" % tried[0]) for key in keys]))
                done[0] = tried[0]
            except (Unavailable, StorageError):
                stopped.wait(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    rng = np.random.default_rng(1)
    for _ in range(20):
        stopped.wait(float(rng.uniform(0.1, 0.4)))
        server.kill()
        answered, last = done[0], tried[0]
        server.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                seen = storage.read(lambda t: {bytes(c or b"0") for c in t.get_many(keys)})
                break
            except Unavailable:
                assert time.monotonic() < deadline
        assert len(seen) == 1
        assert int(seen.pop()) >= min(answered, last)
    stopped.set()
    worker.join()
    server.kill()
    with pytest.raises(Unavailable, match=r"does not answer.*Start it"):
        storage.read(lambda t: t.get(b"k0"))


def test_without_memory_nothing_changes(start_redis, tmp_path):
    server = start_redis(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    storage = open_storage(server.address)
    with pytest.raises(StorageError, match="no memory left: nothing was changed"):
        for _ in range(100):
            storage.write(lambda t: t.put(b"k%d" % add(t), bytes(100_000)))
    found = storage.read(counted)
    assert 0 < found < 100
    assert storage.read(lambda t: sum(1 for _ in t.scan(b"k"))) == found


def test_a_server_that_drops_records_is_refused(start_redis, tmp_path):
    server = start_redis(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(StorageError, match=r"allkeys-lru.*nothing was changed.*noeviction"):
        open_storage(server.address).write(add)


def test_a_replica_is_read_and_not_written(redis, start_redis, tmp_path):
    expected = open_storage(redis.address).write(add)
    replica = open_storage(start_redis(tmp_path, "--replicaof", "127.0.0.1", str(redis.port)).address)
    deadline = time.monotonic() + 30
    while replica.read(counted) != expected:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(StorageError, match="is a replica that only reads: nothing was changed"):
        replica.write(add)


def test_wrong_users_are_told(start_redis, tmp_path):
    server = start_redis(tmp_path, "--requirepass", "secret")
    with pytest.raises(Unavailable, match="refuses the password"):
        open_storage(server.address).exists()
    with pytest.raises(Unavailable, match="refuses the password") as told:
        open_storage(f"redis://:mistaken@127.0.0.1:{server.port}/0").write(add)
    assert "mistaken" not in str(told.value)
    owner: Any = open_storage(f"redis://:secret@127.0.0.1:{server.port}/0")
    owner.write(add)
    owner._reader.execute_command("ACL", "SETUSER", "guest", "on", ">pass", "~bottega:*", "+@read", "+watch")
    guest = open_storage(f"redis://guest:pass@127.0.0.1:{server.port}/0")
    assert guest.read(counted) == 1
    with pytest.raises(StorageError, match="forbids it to this user"):
        guest.write(add)
    assert owner.read(counted) == 1


def test_a_server_that_cannot_save_is_told(start_redis, tmp_path: Path):
    folder = tmp_path / "gone"
    folder.mkdir()
    storage: Any = open_storage(start_redis(folder).address)
    storage.write(add)
    storage._reader.config_set("save", "3600 1")
    shutil.rmtree(folder)
    storage._reader.bgsave()
    deadline = time.monotonic() + 30
    while storage._reader.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(StorageError, match="cannot save: nothing was changed"):
        storage.write(add)


def test_a_database_that_is_not_there_and_a_server_that_is_none_are_told(redis):
    with pytest.raises(StorageError, match=r"refuses: DB index is out of range"):
        open_storage(redis.address.removesuffix("0") + "99").exists()

    class Page(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        with pytest.raises(StorageError, match="Check that this is the address of a Redis server"):
            open_storage(f"redis://127.0.0.1:{page.server_port}/0").exists()
        page.shutdown()


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    from bottega.features import redis_storage

    monkeypatch.setattr(redis_storage, "READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = open_storage(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(Unavailable, match="does not answer: Timeout"):
            storage.read(counted)
