import shutil
import subprocess
import sys

import numpy as np
import pytest

from bottega.errors import InvalidData, NotFound
from bottega.ranking.index import build_index, open_index, read_manifest
from bottega.ranking.wishes import Wishes


def test_an_opened_index_answers_as_the_built_one(places, tmp_path):
    built = build_index(places, tmp_path / "one", dimensions=8)
    again = build_index(places, tmp_path / "two", dimensions=8)
    for text in ("romantic", "sushi quiet", "tannerz"):
        assert open_index(tmp_path / "one").search(Wishes(text)) == built.search(Wishes(text))
        assert again.search(Wishes(text)) == built.search(Wishes(text))


def test_the_folder_holds_no_code_and_says_where_it_comes_from(folder):
    assert {file.suffix for file in folder.glob("*.*")} == {".json", ".npy"}
    assert read_manifest(folder).data_source == "test"


def test_a_server_that_opens_an_index_loads_no_heavy_library(folder):
    code = (
        "import sys; from pathlib import Path; from bottega.ranking.index import open_index; "
        "from bottega.ranking.wishes import Wishes; "
        f"assert open_index(Path({str(folder)!r})).search(Wishes('sushi')).found; "
        "print(sorted({'scipy', 'pandas', 'sklearn', 'torch', 'pyarrow', 'duckdb'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_what_is_no_index_or_damaged_is_refused(folder, tmp_path):
    with pytest.raises(NotFound, match="no search index"):
        open_index(tmp_path)
    for name, content in (("index.json", b"{"), ("points.npy", b"no array"), ("lexical/meta.json", b"{}")):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(content)
        with pytest.raises(InvalidData, match="damaged"):
            open_index(copy)
    copy = tmp_path / "pickled"
    shutil.copytree(folder, copy)
    np.save(copy / "points.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InvalidData, match="damaged"):
        open_index(copy)
    copy = tmp_path / "foreign"
    shutil.copytree(folder, copy)
    np.save(copy / "points.npy", np.zeros((3, 8), np.float32))
    with pytest.raises(InvalidData, match="do not belong together"):
        open_index(copy)


def test_places_need_their_own_ids(places, tmp_path):
    with pytest.raises(InvalidData, match="'p0'"):
        build_index([places[0], places[0]], tmp_path / "twice")
    with pytest.raises(InvalidData, match="0 places"):
        build_index([], tmp_path / "none")
