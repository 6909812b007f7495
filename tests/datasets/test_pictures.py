"""Picture datasets: from Parquet files, plain files or drawn; each refused picture is counted under its reason."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.catalog import dataset
from bottega.datasets.origin import Origin, resolve
from bottega.datasets.pictures import load_pictures
from bottega.datasets.portraits import draw_portraits
from bottega.errors import InvalidData, NotFound
from bottega.settings import Settings
from bottega.workspace import Workspace


def write(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "images.parquet")
    return folder


@pytest.fixture
def drawn() -> pd.DataFrame:
    return draw_portraits(3, 8, label="mask")[["image_id", "label", "jpeg"]]


@pytest.mark.parametrize("name", ["face_mask", "helmet"])
def test_the_card_names_every_column_and_reason(name: str) -> None:
    declared = dataset(name)
    card = declared.card.read_text("utf-8")
    assert all(column.name in card for column in declared.columns)
    assert all(reason in card for reason in declared.reasons)


def test_without_files_the_pictures_are_drawn(tmp_path: Path) -> None:
    origin = resolve("face_mask", Workspace(tmp_path), Settings(workspace=tmp_path))
    assert origin.label == "simulator:portraits"
    masks = load_pictures("face_mask", origin, seed=5, count=12)
    again = load_pictures("face_mask", origin, seed=5, count=12)
    helmets = load_pictures("helmet", Origin("simulator", None, "helmet"), seed=5, count=12)
    assert len(masks.table) == 12 and masks.rejected == {} and masks.fingerprint == again.fingerprint
    assert not set(masks.table["jpeg"]) & set(helmets.table["jpeg"])
    assert load_pictures("face_mask", origin, seed=6, count=12).fingerprint != masks.fingerprint


def test_files_are_found_by_bottega_data_and_in_any_order_give_the_same(tmp_path: Path, drawn: pd.DataFrame) -> None:
    write(tmp_path / "data" / "face_mask", drawn)
    settings = Settings(workspace=tmp_path / "w", data=tmp_path / "data")
    origin = resolve("face_mask", Workspace(tmp_path / "w"), settings)
    found = load_pictures("face_mask", origin)
    assert found.data_source == "BOTTEGA_DATA:face_mask" and len(found.table) == 8
    turned = load_pictures("face_mask", write(tmp_path / "turned", drawn[::-1]))
    assert turned.fingerprint == found.fingerprint
    assert found.table["tone"].isna().all()


def test_each_bad_picture_is_refused_for_its_reason(tmp_path: Path, drawn: pd.DataFrame) -> None:
    bad = pd.DataFrame(
        [
            ("a", 2, drawn["jpeg"][0]),
            ("b", 1, b"a text file"),
            ("c", 0, drawn["jpeg"][1][:500]),
            ("d", 0, b""),
            ("e", 1, None),
            (drawn["image_id"][0], 1, drawn["jpeg"][2]),
        ],
        columns=["image_id", "label", "jpeg"],
    )
    found = load_pictures("face_mask", write(tmp_path, pd.concat([drawn, bad])))
    assert len(found.table) == 8
    assert found.rejected == {
        "null_jpeg": 1,
        "unknown_label": 1,
        "empty": 1,
        "not_a_picture": 1,
        "damaged": 1,
        "duplicate": 1,
    }


def test_plain_files_in_folders_named_by_label(tmp_path: Path, drawn: pd.DataFrame) -> None:
    for i, row in enumerate(drawn.itertuples()):
        file = tmp_path / str(row.label) / f"{i}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(row.jpeg)
    (tmp_path / "1" / "notes.jpg").write_text("no picture")
    found = load_pictures("helmet", tmp_path)
    assert len(found.table) == 8 and found.rejected == {"not_a_picture": 1}
    assert sorted(found.table["label"]) == sorted(drawn["label"])


def test_wrong_files_are_refused_by_name(tmp_path: Path, drawn: pd.DataFrame) -> None:
    with pytest.raises(NotFound, match="has no pictures"):
        load_pictures("face_mask", tmp_path)
    with pytest.raises(InvalidData, match=r"images\.parquet lacks the column 'label'"):
        load_pictures("face_mask", write(tmp_path / "a", drawn.drop(columns="label")))
    with pytest.raises(InvalidData, match="the column 'jpeg' is large_string; it must hold bytes"):
        load_pictures("face_mask", write(tmp_path / "b", drawn.assign(jpeg="text")))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "images.parquet").write_text("hello")
    with pytest.raises(InvalidData, match="no sound Parquet file"):
        load_pictures("face_mask", tmp_path / "c")
    with pytest.raises(InvalidData, match="no good picture"):
        load_pictures("face_mask", write(tmp_path / "d", drawn.assign(label=np.int8(7))))


@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA is not set")
@pytest.mark.parametrize(("name", "rows"), [("face_mask", 1200), ("helmet", 703)])
def test_real_pictures_are_all_good(name: str, rows: int) -> None:
    found = load_pictures(name, Path(os.environ["BOTTEGA_DATA"]) / name)
    assert len(found.table) == rows and found.rejected == {}
