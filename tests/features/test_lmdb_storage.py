"""LMDB: a map that grows here and elsewhere, threads and forks, readers that died, and files that are none of its."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest

from bottega.errors import StorageError
from bottega.features import lmdb_storage
from bottega.features.storage import open_storage

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def small_map(monkeypatch):
    monkeypatch.setattr(lmdb_storage, "FIRST_BYTES", MEGABYTE)


def python(code: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


GROW = """
import sys
from bottega.features.storage import open_storage
open_storage(sys.argv[1]).write(lambda t: [t.put(b"%d" % i, bytes(1000)) for i in range(int(100_000))])
"""


@pytest.mark.parametrize("first", ["read", "write"])
def test_a_full_map_grows_and_other_processes_follow(tmp_path, first):
    storage = open_storage(tmp_path)
    storage.write(lambda t: [t.put(b"mine%d" % i, bytes(1000)) for i in range(5000)])
    with python(GROW, tmp_path) as other:
        assert other.wait(60) == 0
    if first == "write":
        storage.write(lambda t: t.put(b"more", b"1"))
    assert storage.read(lambda t: sum(1 for _ in t.scan(b""))) == 105_000 + (first == "write")
    storage.write(lambda t: t.put(b"last", b"1"))
    assert storage.read(lambda t: bytes(t.get(b"last") or b"")) == b"1"


def test_threads_that_open_it_at_once_share_one(tmp_path, monkeypatch):
    ready, seen, opened = threading.Barrier(8), [], []
    really_open = lmdb.open

    def open_slowly(*arguments: Any, **options: Any) -> lmdb.Environment:
        opened.append(arguments)
        time.sleep(0.2)  # so that all threads come while the first still opens it
        return really_open(*arguments, **options)

    monkeypatch.setattr(lmdb, "open", open_slowly)

    def work() -> None:
        storage = open_storage(tmp_path)
        ready.wait()
        storage.write(lambda t: t.put(b"a", b"1"))
        seen.append(storage.read(lambda t: bytes(t.get(b"a") or b"")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [b"1"] * 8
    assert len(opened) == 1


FORK = """
import os, sys
from bottega.features.storage import open_storage
storage = open_storage(sys.argv[1])
storage.write(lambda t: t.put(b"a", b"parent"))
look = lambda: storage.read(lambda t: bytes(t.get(b"a") or b""))
assert look() == b"parent"
child = os.fork()
if child == 0:
    code = 1
    try:
        assert look() == b"parent"
        storage.write(lambda t: t.put(b"a", b"child"))
        again = open_storage(sys.argv[1])
        code = 0 if look() == again.read(lambda t: bytes(t.get(b"a") or b"")) == b"child" else 2
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert look() == b"child"
storage.write(lambda t: t.put(b"a", b"parent again"))
print(look().decode())
"""


def test_a_forked_child_opens_its_own(tmp_path):
    with python(FORK, tmp_path) as both:
        out, _ = both.communicate(timeout=60)
    assert (both.returncode, out) == (0, "parent again\n")


STAY = """
import sys, time
from bottega.features.storage import open_storage
def stay(t):
    print(t.version, flush=True)
    time.sleep(600)
open_storage(sys.argv[1]).read(stay)
"""


def test_a_reader_that_was_killed_does_not_make_the_file_grow(tmp_path):
    storage = open_storage(tmp_path)
    storage.write(lambda t: t.put(b"a", bytes(100_000)))
    with python(STAY, tmp_path) as reader:
        assert reader.stdout is not None and reader.stdout.readline()
        reader.send_signal(signal.SIGKILL)
    for n in range(50):
        storage.write(lambda t, n=n: t.put(b"a", bytes((n,)) * 100_000))
    assert (tmp_path / "data.mdb").stat().st_size <= MEGABYTE


def test_what_is_no_store_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("none")
    with pytest.raises(StorageError, match=r"cannot be opened: that is a file\. Name a folder"):
        open_storage(file).write(lambda t: None)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "data.mdb").write_bytes(b"none of LMDB's" * 1000)
    with pytest.raises(StorageError, match=r"cannot be opened: .*materialise again"):
        open_storage(damaged).read(lambda t: t.get(b"a"))
