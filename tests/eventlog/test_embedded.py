"""The embedded log: crashes, full disks, damaged files, and several processes on one file."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bottega.errors import InvalidData, StorageError, Unavailable
from bottega.eventlog import embedded, open_log

WRITER = """
import random, sys
from bottega.eventlog import open_log
path, name, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
sizes = random.Random(f"{name} {batches}")
log = open_log(path)
print("ready", flush=True)
sys.stdin.readline()
for batch in range(batches):
    size = sizes.randint(1, 400)
    records = [f"{name} {batch} {i} {size} ".encode() + b"." * 200 for i in range(size)]
    print(log.append("t", records), flush=True)
"""


def start(path: Path, name: str, batches: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(batches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def read_all(path: Path, topic: str = "t") -> list[bytes]:
    records: list[bytes] = []
    with open_log(path) as log:
        while batch := log.read(topic, len(records), 10_000):
            records += batch.records
        assert len(records) == log.end(topic)
    return records


def check_batches(records: list[bytes]) -> dict[str, int]:
    """Every batch is there as a whole and in its writer's order. Returns how many each writer has."""
    batches: dict[str, int] = {}
    position = 0
    while position < len(records):
        name, batch, _, size = records[position].decode().split()[:4]
        assert int(batch) == batches.get(name, 0)
        for i in range(int(size)):
            assert records[position + i].startswith(f"{name} {batch} {i} {size} ".encode())
        batches[name] = int(batch) + 1
        position += int(size)
    return batches


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_that_it_was_told_is_there(tmp_path, kills):
    path = tmp_path / "events.db"
    moments = random.Random(kills)
    expected = {}
    for kill in range(kills):
        writer = start(path, f"writer-{kill}", 1_000_000)
        begin(writer)
        ends = [int(writer.stdout.readline()) for _ in range(moments.randint(1, 30))]
        threading.Event().wait(moments.random() / 50)  # into the middle of an append
        writer.kill()
        ends += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        writer.stdin.close()
        writer.stdout.close()
        records = read_all(path)
        assert len(records) >= ends[-1]
        batches = check_batches(records)
        expected[f"writer-{kill}"] = len(ends)
        # The last append may be there without having been reported.
        assert batches[f"writer-{kill}"] - len(ends) in (0, 1)
        assert set(batches) == set(expected)


def test_two_processes_append_at_once(tmp_path):
    path = tmp_path / "events.db"
    writers = [start(path, name, 100) for name in ("a", "b")]
    for writer in writers:
        begin(writer)
    for writer in writers:
        reported, _ = writer.communicate()
        assert writer.returncode == 0
        assert len(reported.split()) == 100
    assert check_batches(read_all(path)) == {"a": 100, "b": 100}


def test_several_processes_make_the_file_at_once(tmp_path):
    path = tmp_path / "folder" / "events.db"
    go = tmp_path / "go"
    script = (
        "import sys, time, pathlib\n"
        "from bottega.eventlog import open_log\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "open_log(sys.argv[1]).append('t', [sys.argv[3].encode()])\n"
    )
    makers = [subprocess.Popen([sys.executable, "-c", script, str(path), str(go), str(i)]) for i in range(6)]
    go.touch()
    assert [maker.wait() for maker in makers] == [0] * 6
    assert sorted(read_all(path)) == [b"%d" % i for i in range(6)]


def test_a_writer_that_waits_too_long_says_so_and_readers_do_not_wait(tmp_path):
    path = tmp_path / "events.db"
    with open_log(path, timeout_s=0.2) as log:
        log.append("t", [b"a"])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"locked for 0\.2 s: nothing was appended") as refused:
            log.append("t", [b"b"])
        assert str(path) in str(refused.value)
        assert log.read("t", 0, 10).records == [b"a"]
        other.execute("ROLLBACK")
        other.close()
        assert log.append("t", [b"b"]) == 2


def test_the_write_ahead_log_stays_short(tmp_path):
    path = tmp_path / "events.db"
    batch = [b"%d" % i + b"." * 1000 for i in range(1000)]
    with open_log(path) as log:
        for i in range(1, 21):
            assert log.append("t", batch) == i * 1000
            assert path.with_name("events.db-wal").stat().st_size < 6_000_000
        assert path.stat().st_size > 15_000_000
        # A reader that keeps an old state open keeps the write-ahead log, and sees that state.
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        query = "SELECT count(*) FROM records_1"
        assert other.execute(query).fetchone() == (20_000,)
        for _ in range(7):
            log.append("t", batch)
        assert other.execute(query).fetchone() == (20_000,)
        other.execute("COMMIT")
        assert other.execute(query).fetchone() == (27_000,)
        other.close()
        for _ in range(10):
            log.append("t", batch)
        assert path.with_name("events.db-wal").stat().st_size < 6_000_000
    assert read_all(path) == batch * 37


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    yield small
    subprocess.run(["umount", str(small)], check=True)


def test_a_full_disk_takes_nothing_and_loses_nothing(small_disk):
    path = small_disk / "events.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    batch = [b"%d" % i + b"." * 1000 for i in range(20)]
    with open_log(path) as log:
        appended = 0
        with pytest.raises(StorageError, match=r"No space is left .*: nothing was appended") as refused:
            for _ in range(1000):
                appended = log.append("t", batch)
        assert str(path) in str(refused.value)
        assert 0 < appended < 2000
        assert log.end("t") == appended
        assert log.read("t", 0, 10_000).records == batch * (appended // 20)
        with pytest.raises(StorageError, match="nothing was appended"):
            log.append("t", batch)
        assert read_all(path) == batch * (appended // 20)
        ballast.unlink()
        assert log.append("t", batch) == appended + 20
    assert read_all(path) == batch * (appended // 20 + 1)


def filled(path: Path) -> int:
    with open_log(path) as log:
        return log.append("t", [b"%d" % i + b"." * 100 for i in range(5000)])


def test_a_damaged_file_is_reported(tmp_path):
    path = tmp_path / "events.db"
    filled(path)
    whole = path.read_bytes()
    for damaged in (
        whole[:100_000],
        whole[:8192] + bytes(len(whole) - 8192),
        whole[:20_000] + b"\xff" * 300_000 + whole[320_000:],
        b"not a database at all, " * 100,
    ):
        path.write_bytes(damaged)
        with pytest.raises(InvalidData, match=r"The event log .*events.db is damaged"), open_log(path) as log:
            log.read("t", 0, 10_000)


def test_records_that_vanished_are_missed(tmp_path):
    path = tmp_path / "events.db"
    filled(path)
    other = sqlite3.connect(path)
    other.execute("DELETE FROM records_1 WHERE position BETWEEN 50 AND 60")
    other.commit()
    other.close()
    with open_log(path) as log:
        assert len(log.read("t", 0, 50)) == 50
        with pytest.raises(InvalidData, match="of the records 0 to 99 of topic 't' it holds 89"):
            log.read("t", 0, 100)


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "events.db"
    filled(path)
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(StorageError, match=r"has format 99, .* knows up to 1: a newer version wrote it"):
        open_log(path)


def test_another_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE topics (name TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(InvalidData, match="is a database, but not an event log"):
        open_log(path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(StorageError, match="cannot be used"):
        open_log(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be used"):
        open_log(tmp_path / "file" / "events.db")


def test_an_empty_file_becomes_a_log(tmp_path):
    path = tmp_path / "events.db"
    path.touch()
    assert filled(path) == 5000


def test_a_long_trim_goes_in_steps(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    filled(path)
    monkeypatch.setattr(embedded, "_TRIM_ROWS", 700)
    with open_log(path) as log:
        log.trim("t", 4321)
        assert (log.begin("t"), log.end("t")) == (4321, 5000)
        assert log.read("t", 4321, 1).records == [b"4321" + b"." * 100]
        assert len(log.read("t", 4321, 1000)) == 679


def test_space_of_trimmed_records_is_used_again(tmp_path):
    path = tmp_path / "events.db"
    filled(path)
    size = path.stat().st_size
    for _ in range(5):
        with open_log(path) as log:
            log.trim("t", log.end("t"))
        filled(path)
    assert path.stat().st_size < 1.2 * size
