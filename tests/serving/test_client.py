"""The client over a line that fails: it asks again where that helps, in time, and under one id."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from urllib.parse import urlsplit

import pytest

from bottega.errors import BottegaError, InvalidInput, NotFound, Unavailable
from bottega.features.steps import Columns
from bottega.serving.client import Client, TimedOut
from bottega.serving.log import REPEATS, read_predictions
from bottega.serving.process import running
from bottega.serving.web import Unauthorized
from bottega.times import from_epoch_us
from bottega.workspace import Workspace

Rows = Callable[[int], Columns]
Fresh = Callable[[], Workspace]


class Line:
    """A TCP line to a server that does to each request in turn: `pass`, `lose` its answer, `drop` it, `hold` it, or
    answer it with a status of its own.
    """

    def __init__(self, url: str, deeds: list[str]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = parts.hostname, parts.port
        self._deeds = iter(deeds)
        self.requests: list[bytes] = []
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        request = _read(client)
        self.requests.append(request)
        match next(self._deeds, "pass"):
            case "drop":
                pass
            case "hold":
                self._released.wait()
            case "lose":
                self._ask(request)
            case "pass":
                client.sendall(self._ask(request))
            case status:
                body = b'{"error":"Not now."}'
                client.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body))

    def _ask(self, request: bytes) -> bytes:
        with socket.create_connection(self._server) as server:
            server.sendall(request)
            return _read(server)


def _read(connection: socket.socket) -> bytes:
    """One message with its body."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(sizes[0] if sizes else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def line_to(url: str, *deeds: str) -> Iterator[Line]:
    line = Line(url, list(deeds))
    try:
        yield line
    finally:
        line.close()


@pytest.fixture(scope="module")
def rows(some_rows: Rows) -> list[dict[str, object]]:
    columns = some_rows(2)
    return [
        {
            "pu_zone": int(columns["pu_zone"][i]),
            "do_zone": int(columns["do_zone"][i]),
            "at": from_epoch_us(int(columns["at"][i])).astimezone(UTC).isoformat(),
        }
        for i in range(2)
    ]


@pytest.mark.parametrize("deed", ["drop", "lose", "503 Service Unavailable"])
def test_it_asks_again(served: tuple[Workspace, str], rows: list[dict[str, object]], deed: str) -> None:
    with Client(served[1]) as client:
        wanted = client.predict("eta", rows).answers
    with line_to(served[1], deed, deed) as line, Client(line.url, retries=2) as client:
        assert client.predict("eta", rows).answers == wanted
        assert len(line.requests) == 3


def test_a_retry_is_one_row_in_the_log(fresh: Fresh, rows: list[dict[str, object]]) -> None:
    workspace = fresh()
    with running(workspace) as address, line_to(address.url, "lose", "lose") as line, Client(line.url) as client:
        ids = client.predict("eta", rows).ids
        other = client.predict("eta", rows).ids
        client.wait_for_log()
    logged = read_predictions(workspace, "eta")
    assert sorted(logged["request_id"]) == sorted([*ids, *other])
    assert len(set(logged["request_id"])) == 4
    assert logged.attrs[REPEATS] == 4  # the first request was lost twice after it was answered


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", InvalidInput),
        ("401 Unauthorized", Unauthorized),
        ("404 Not Found", NotFound),
        ("500 Internal Server Error", BottegaError),
    ],
)
def test_other_errors_are_typed_and_final(
    served: tuple[Workspace, str], rows: list[dict[str, object]], status: str, kind: type[Exception]
) -> None:
    with line_to(served[1], status) as line, Client(line.url) as client:
        with pytest.raises(kind, match=r"Not now\.") as caught:
            client.predict("eta", rows)
        assert caught.type is kind
        assert len(line.requests) == 1


def test_it_gives_up_after_its_tries(served: tuple[Workspace, str], rows: list[dict[str, object]]) -> None:
    with line_to(served[1], *["503 Service Unavailable"] * 9) as line, Client(line.url, retries=3) as client:
        with pytest.raises(Unavailable, match=r"Not now\."):
            client.predict("eta", rows)
        assert len(line.requests) == 4


def test_the_deadline_bounds_all_tries(served: tuple[Workspace, str], rows: list[dict[str, object]]) -> None:
    with line_to(served[1], "drop", "hold") as line, Client(line.url, timeout_s=0.5, retries=99) as client:
        with pytest.raises(TimedOut, match=r"did not answer in 0\.5 s"):
            client.predict("eta", rows)
        assert len(line.requests) == 2
    with line_to(served[1], *["drop"] * 1000) as line, Client(line.url, timeout_s=0.5, retries=999) as client:
        with pytest.raises(Unavailable):
            client.predict("eta", rows)
        assert 1 < len(line.requests) < 999


def test_a_server_that_is_not_there(rows: list[dict[str, object]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(Unavailable, match=r"does not answer.*bottega serve"),
    ):
        client.predict("eta", rows)
