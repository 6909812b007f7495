"""Downloads against a real HTTP server on this machine: whole files or none, and clear errors."""

import functools
import hashlib
import http.server
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from bottega.datasets.catalog import Dataset, dataset
from bottega.datasets.download import download
from bottega.errors import IntegrityError, InvalidData, InvalidInput, NotFound, Unavailable, Unsupported
from bottega.workspace import Workspace


class Publisher(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; a name with `cut` breaks off half-way, one with `busy` answers 503."""

    def do_GET(self) -> None:
        if "busy" in self.path:
            self.send_error(503)
            return
        if "cut" not in self.path:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"PAR1" + bytes(400))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[Path, Dataset]]:
    """A folder that is served, and the trips' declaration with its address."""
    folder = tmp_path / "published"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Publisher, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/green_{{month}}.parquet"
    yield folder, msgspec.structs.replace(dataset("tlc_green_trips"), url=url, file="green_{month}.parquet")
    server.shutdown()
    thread.join()
    server.server_close()


def write(folder: Path, name: str, trips: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    trips.to_parquet(buffer)
    (folder / name).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_files_arrive_whole_and_are_not_fetched_twice(
    published: tuple[Path, Dataset], workspace: Workspace, trips: pd.DataFrame
) -> None:
    folder, declared = published
    content = write(folder, "green_2023-01.parquet", trips)
    seen: list[tuple[str, int, int]] = []
    files = download(declared, ["2023-01", "2023-01"], workspace, lambda *call: seen.append(call))
    assert files == (workspace.data / "tlc_green_trips" / "green_2023-01.parquet",)
    assert files[0].read_bytes() == content
    assert seen[-1] == ("fetch green_2023-01.parquet", len(content), len(content))
    (folder / "green_2023-01.parquet").unlink()
    write(folder, "green_2023-02.parquet", trips)
    assert len(download(declared, ["2023-01", "2023-02"], workspace)) == 2


def test_what_is_not_the_file_leaves_nothing_behind(
    published: tuple[Path, Dataset], workspace: Workspace, trips: pd.DataFrame
) -> None:
    folder, declared = published
    (folder / "green_2023-01.parquet").write_text("<html>please log in</html>")
    with pytest.raises(InvalidData, match="is not a Parquet file"):
        download(declared, ["2023-01"], workspace)
    with pytest.raises(NotFound, match=r"has no file .*green_2023-05\.parquet \(HTTP 404\)"):
        download(declared, ["2023-05"], workspace)
    for word, said in (("cut", r"does not answer|broke off"), ("busy", "answered HTTP 503")):
        changed = msgspec.structs.replace(declared, url=declared.url.replace("green", word))
        with pytest.raises(Unavailable, match=said):
            download(changed, ["2023-01"], workspace)
    assert list((workspace.data / "tlc_green_trips").iterdir()) == []


def test_a_pinned_checksum(published: tuple[Path, Dataset], workspace: Workspace, trips: pd.DataFrame) -> None:
    folder, declared = published
    content = write(folder, "green_2023-01.parquet", trips)
    wrong = msgspec.structs.replace(declared, sha256={"green_2023-01.parquet": "0" * 64})
    with pytest.raises(IntegrityError, match="not the pinned 0000"):
        download(wrong, ["2023-01"], workspace)
    right = msgspec.structs.replace(wrong, sha256={"green_2023-01.parquet": hashlib.sha256(content).hexdigest()})
    assert download(right, ["2023-01"], workspace)[0].is_file()


def test_offline(workspace: Workspace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    declared = msgspec.structs.replace(dataset("tlc_green_trips"), url=f"http://127.0.0.1:{port}/{{month}}.parquet")
    with pytest.raises(Unavailable, match=r"does not answer.* Check the network connection"):
        download(declared, ["2023-01"], workspace)


def test_what_can_be_asked_for(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="'2023-1' is not a month"):
        download("tlc_green_trips", ["2023-1"], workspace)
    with pytest.raises(InvalidInput, match="is published by the month"):
        download("tlc_green_trips", [], workspace)
    with pytest.raises(InvalidInput, match="is not published by the month"):
        download("taxi_zones", ["2023-01"], workspace)
    with pytest.raises(Unsupported, match="has no public address"):
        download("city_simulator", [], workspace)
