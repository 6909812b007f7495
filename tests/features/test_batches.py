"""Batches: a frame, a file, a folder or a list read the same; whole numbers stay whole; bad files are named."""

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidData, NotFound
from bottega.features import batches
from bottega.features.batches import Batches

WHAT = "The source 'events'"


def read(table, columns=("id", "x"), **options) -> pd.DataFrame:
    return pd.concat(list(Batches(WHAT, table).read(columns, **options)), ignore_index=True)


@pytest.fixture
def rows() -> pd.DataFrame:
    ids = pd.array([2**60 + 1, None, 3, 4, 5], dtype="Int64")
    return pd.DataFrame({"id": ids, "x": [0.5, np.nan, 1.5, 2.5, 3.5], "unused": "text"})


def test_every_form_of_a_table_gives_its_rows_in_order(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_ROWS", 2)
    one, other = tmp_path / "a.parquet", tmp_path / "deep" / "b.parquet"
    other.parent.mkdir()
    rows.iloc[:3].to_parquet(one)
    rows.iloc[3:].to_parquet(other)
    for table in (tmp_path, str(tmp_path), [one, str(other)]):
        assert Batches(WHAT, table).rows == 5
        found = read(table)
        assert found["id"].tolist() == rows["id"].tolist()  # 2**60 + 1 is no float
        np.testing.assert_array_equal(found["x"], rows["x"])
    assert [len(batch) for batch in Batches(WHAT, rows).read(["id"])] == [2, 2, 1]
    assert read(tmp_path, paths=[other])["id"].tolist() == [4, 5]


def test_an_empty_table_is_one_empty_batch(rows, tmp_path):
    rows.head(0).to_parquet(tmp_path / "none.parquet")
    for table in (rows.head(0), tmp_path):
        (batch,) = Batches(WHAT, table).read(["id", "x"])
        assert len(batch) == 0
        assert {"id", "x"} <= set(batch.columns)


def test_what_cannot_be_read_is_named(rows, tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(NotFound, match=r"there is no Parquet file in .*bare"):
        Batches(WHAT, tmp_path / "bare")
    with pytest.raises(NotFound, match="there is no Parquet file in an empty list"):
        Batches(WHAT, [])
    with pytest.raises(NotFound, match=r"there is no file .*absent\.parquet"):
        Batches(WHAT, tmp_path / "absent.parquet")
    rows.to_parquet(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidData, match=r"cut\.parquet cannot be read as Parquet"):
        Batches(WHAT, tmp_path / "cut.parquet")
    rows.assign(x=[1, 2, 3, 4, 5]).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidData, match=r"x is int64 in .*b\.parquet, but double in .*a\.parquet"):
        read([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert read([tmp_path / "a.parquet", tmp_path / "b.parquet"], ["id"])["id"].size == 10  # x is not asked for
