"""Spill: rows come back by part and in order, nothing is left behind, and a full disk is said plainly."""

import subprocess
import tempfile

import numpy as np
import pyarrow as pa
import pytest

from bottega.errors import StorageError
from bottega.features.spill import open_spill


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_rows_come_back_by_part_in_the_order_in_which_they_were_added(folder):
    with open_spill(3) as spill:
        for first in (0, 10):
            number = np.arange(first, first + 10)
            spill.add("numbers", pa.table({"number": number, "text": number.astype(str)}), number % 3)
        parts = [spill.read("numbers", part) for part in range(3)]
    assert [part.column("number").to_pylist() for part in parts] == [list(range(i, 20, 3)) for i in range(3)]
    assert parts[1].column("text").to_pylist()[:2] == ["1", "4"]
    assert not list(folder.iterdir())


def test_a_part_without_rows_is_an_empty_table(folder):
    with open_spill(2) as spill:
        spill.add("numbers", pa.table({"number": [1, 2]}), np.zeros(2, np.int64))
        assert spill.read("numbers", 1).schema.names == ["number"]


def test_an_error_leaves_nothing_behind(folder):
    with pytest.raises(KeyboardInterrupt), open_spill(2) as spill:
        spill.add("numbers", pa.table({"number": [1, 2]}), np.arange(2))
        raise KeyboardInterrupt
    assert not list(folder.iterdir())


def test_a_full_disk_is_said_plainly_and_left_empty(tmp_path, monkeypatch):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        rows = pa.table({"number": np.arange(100_000)})
        with pytest.raises(StorageError, match="No space is left on the disk while writing"), open_spill(4) as spill:
            for _ in range(5):
                spill.add("numbers", rows, np.arange(100_000) % 4)
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
