"""The short way of predictions, byte by byte over a socket; answers are those of uvicorn's own way."""

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from bottega.serving.connection import MAX_HEADERS
from bottega.serving.web import MAX_BODY
from bottega.workspace import Workspace

Served = tuple[Workspace, str]
ROW = json.dumps({"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}).encode()


@pytest.fixture
def wire(served: Served) -> Iterator[socket.socket]:
    parts = urlsplit(served[1])
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as wire:
        yield wire


def request(body: bytes = ROW, path: str = "/v1/eta/predict", version: str = "1.1", more: str = "") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nhost: here\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def answers(wire: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers."""
    found, data = [], b""
    while len(found) < count:
        head, separator, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next((int(line[16:]) for line in lines if line.lower().startswith(b"content-length: ")), 0)
        if separator and len(rest) >= length:
            found.append((int(lines[0].split()[1]), rest[:length]))
            data = rest[length:]
            continue
        got = wire.recv(65536)
        if not got:
            break
        data += got
    return found


def test_the_short_way_answers_as_the_long_one(served: Served, wire: socket.socket) -> None:
    wire.sendall(request())
    ((status, short),) = answers(wire, 1)
    wire.sendall(request(more="expect: 100-continue\r\n"))  # which takes the long way
    assert wire.recv(25).startswith(b"HTTP/1.1 100")
    ((_, long),) = answers(wire, 1)
    assert status == 200
    assert {**json.loads(short), "id": ""} == {**json.loads(long), "id": ""}
    assert httpx.post(f"{served[1]}/v1/eta/predict", content=ROW).status_code == 200


def test_a_body_in_many_pieces_and_requests_sent_ahead(wire: socket.socket) -> None:
    whole = request()
    for start in range(0, len(whole), 7):
        wire.sendall(whole[start : start + 7])
    assert [status for status, _ in answers(wire, 1)] == [200]
    wire.sendall(request() * 3 + request(path="/v1/nobody/predict") + request(b"{}"))
    assert [status for status, _ in answers(wire, 5)] == [200, 200, 200, 404, 400]


@pytest.mark.parametrize(("version", "more"), [("1.0", ""), ("1.1", "connection: close\r\n")])
def test_a_connection_that_is_not_kept_ends_after_its_answer(wire: socket.socket, version: str, more: str) -> None:
    wire.sendall(request(version=version, more=more))
    assert [status for status, _ in answers(wire, 2)] == [200]
    assert wire.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"NONSENSE\r\n\r\n", 400, "no valid HTTP"),
        (request(more=f"x-long: {'a' * (MAX_HEADERS + 1)}\r\n"), 431, "The headers have more"),
        (request(more="transfer-encoding: chunked\r\n"), 400, "no valid HTTP"),
        (b"POST /v1/eta/predict HTTP/1.1\r\nhost: x\r\ncontent-length: -4\r\n\r\n", 400, "no valid HTTP"),
    ],
)
def test_what_is_no_request_gets_a_reason_as_json(
    served: Served, wire: socket.socket, sent: bytes, status: int, reason: str
) -> None:
    wire.sendall(sent)
    ((found, body),) = answers(wire, 1)
    assert (found, reason in json.loads(body)["error"]) == (status, True)
    assert httpx.get(f"{served[1]}/v2/health/live").status_code == 200


def test_a_body_over_the_limit_is_refused_and_the_connection_lives_on(wire: socket.socket) -> None:
    wire.sendall(request(b" " * (MAX_BODY + 1)))
    ((status, body),) = answers(wire, 1)
    assert (status, f"more than {MAX_BODY} bytes" in json.loads(body)["error"]) == (413, True)
    wire.sendall(request())
    assert [status for status, _ in answers(wire, 1)] == [200]


def test_a_client_that_goes_away_in_the_middle_hurts_nobody(served: Served) -> None:
    parts = urlsplit(served[1])
    for sent in (request()[:-5], request(), request() * 2, b"POST /v1/eta/pre"):
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as gone:
            gone.sendall(sent)
    time.sleep(0.05)
    assert httpx.post(f"{served[1]}/v1/eta/predict", content=ROW).status_code == 200


def named(name: str) -> bytes:
    return json.dumps({**json.loads(ROW), "id": name}).encode()


def ids(found: list[tuple[int, bytes]]) -> list[str]:
    return [json.loads(body)["id"] for _, body in found]


def test_a_head_that_is_sent_again_is_answered_by_each_body(wire: socket.socket) -> None:
    for name in ("aa", "bb", "cc"):
        wire.sendall(request(named(name)))
        assert ids(answers(wire, 1)) == [name]
    wire.sendall(request(named("longer")) + request(named("dd")))  # another head, and one that was sent ahead
    assert ids(answers(wire, 2)) == ["longer", "dd"]
    whole = request(named("ee"))
    wire.sendall(whole[:-9])
    time.sleep(0.02)
    wire.sendall(whole[-9:] + request(named("ff"))[:40])
    assert ids(answers(wire, 1)) == ["ee"]
    wire.sendall(request(named("ff"))[40:])
    assert ids(answers(wire, 1)) == ["ff"]
    wire.sendall(request(path="/v1/eta/predict2")[: -len(ROW)])  # a head without its body, of a route of uvicorn's way
    time.sleep(0.02)
    wire.sendall(ROW)
    assert [status for status, _ in answers(wire, 1)] == [405]
    wire.sendall(b"".join(request(named(name)) for name in ("gg", "hh", "ii")))
    assert ids(answers(wire, 3)) == ["gg", "hh", "ii"]


def test_a_body_that_looks_like_a_request_is_a_body(wire: socket.socket) -> None:
    inner = request(named("xx"))
    wire.sendall(request(inner))
    wire.sendall(request(inner))
    assert [status for status, _ in answers(wire, 2)] == [400, 400]
    wire.sendall(request(named("yy"), more="connection: close\r\n") + request(named("zz")))
    assert ids(answers(wire, 2)) == ["yy"]


def test_a_client_that_does_not_read_is_not_written_to_without_end(served: Served, wire: socket.socket) -> None:
    wire.setblocking(False)
    whole, sent = request(b'{"rows": [' + b",".join([ROW] * 400) + b"]}"), 0
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            sent += wire.send(whole[sent % len(whole) :])
        except BlockingIOError:
            time.sleep(0.3)
            try:
                sent += wire.send(whole[sent % len(whole) :])
            except BlockingIOError:
                break  # neither reads: the server has paused
    else:
        pytest.fail("the server read on for 20 s")
    assert httpx.post(f"{served[1]}/v1/eta/predict", content=ROW).status_code == 200
