"""Bad input, item by item, against one running server: a reason each time, and afterwards right answers as before."""

import contextlib
import gzip
import importlib.util
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from bottega.serving import proto
from bottega.serving.process import running
from bottega.serving.web import MAX_BODY
from bottega.workspace import Workspace

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

HEAD_S, BODY_S = 1.5, 3.0
ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
PREDICT, ETA, RAW, SIMPLE, TEXT = (
    "/v1/eta/predict",
    *(f"/v2/models/{name}/infer" for name in ("eta", "eta-raw", "simple", "text")),
)
MIB = 1 << 20


@dataclass(frozen=True)
class Server:
    """A running server, and what it answers to right requests."""

    url: str
    grpc_port: int
    row: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def server(fresh: Callable[[], Workspace], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("repository")
    models.put(root, "simple", models.add_sub(), 1, "max_batch_size: 8")
    models.put(root, "text", models.add_sub_text())
    limits = [f"--head-timeout-s={HEAD_S}", f"--body-timeout-s={BODY_S}"]
    with running(fresh(), options=["--repository", str(root), "--grpc-port", "0", *limits]) as address:
        row = httpx.post(address.url + PREDICT, json={**ROW, "id": "a"}).json()
        tensors = httpx.post(address.url + SIMPLE, json=simple()).json()
        yield Server(address.url, address.grpc_port or 0, row, tensors)


@pytest.fixture(autouse=True)
def answers_right_afterwards(server: Server) -> Iterator[None]:
    """After each test the server lives, is ready, and answers right requests as before."""
    yield
    with httpx.Client(base_url=server.url, timeout=20) as http:
        assert http.get("/v2/health/ready").json() == {"ready": True}
        assert http.post(PREDICT, json={**ROW, "id": "a"}).json() == server.row
        assert http.post(SIMPLE, json=simple()).json() == server.tensors
    assert server.tensors["outputs"][0]["data"] == [2 * n for n in range(16)]
    infer = ask_grpc(server, "ModelInfer", **grpc_simple())
    assert infer.raw_output_contents[0] == struct.pack("<16i", *(2 * n for n in range(16)))


def simple(**changes: object) -> dict[str, Any]:
    """A right request of add/sub, its first input changed."""
    tensor = {"datatype": "INT32", "shape": [1, 16], "data": list(range(16))}
    return {"inputs": [{"name": "INPUT0", **tensor, **changes}, {"name": "INPUT1", **tensor}]}


def eta(**changes: object) -> dict[str, Any]:
    """A right request of eta as tensors, its first input changed."""
    inputs = [("pu_zone", "INT32", 3), ("do_zone", "INT32", 12), ("at", "INT64", 1705411800_000000)]
    tensors = [{"name": name, "datatype": kind, "shape": [1], "data": [value]} for name, kind, value in inputs]
    return {"inputs": [{**tensors[0], **changes}, *tensors[1:]]}


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def replaced(old: bytes, new: bytes, body: dict[str, Any]) -> bytes:
    content = text(body)
    assert old in content
    return content.replace(old, new, 1)


def binary(sizes: tuple[object, object], data: bytes, length: int | str | None = None) -> tuple[bytes, dict[str, str]]:
    """A request of add/sub as binary tensors with these sizes, and its headers."""
    header = text(
        {
            "inputs": [
                {"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": size}}
                for i, size in enumerate(sizes)
            ]
        }
    )
    return header + data, {"inference-header-content-length": str(len(header) if length is None else length)}


DEEP = b"[" * 100_000 + b"]" * 100_000
NINE = {"shape": [9, 16], "data": [1] * 144}
NO_DATA = {k: v for k, v in simple()["inputs"][0].items() if k != "data"}

# item of the list: where to, body, status
BODIES: dict[str, tuple[str, bytes | dict[str, Any] | list[Any], int]] = {
    "empty body": (SIMPLE, b"", 400),
    "empty body, use case": (PREDICT, b"", 400),
    "not JSON": (SIMPLE, b"INPUT0=1&INPUT1=2", 400),
    "not JSON, use case": (PREDICT, b"pu_zone: 3", 400),
    "half of a JSON": (SIMPLE, text(simple())[:-9], 400),
    "JSON and more": (SIMPLE, text(simple()) + b"{}", 400),
    "array at top": (SIMPLE, [simple()], 400),
    "array at top, use case": (PREDICT, [ROW], 400),
    "number at top": (PREDICT, b"7", 400),
    "no inputs": (SIMPLE, {"inputs": []}, 400),
    "no member inputs": (SIMPLE, {"outputs": []}, 400),
    "inputs null": (SIMPLE, {"inputs": None}, 400),
    "missing input": (SIMPLE, {"inputs": simple()["inputs"][:1]}, 400),
    "missing input, use case": (PREDICT, {"pu_zone": 3, "do_zone": 12}, 400),
    "extra input": (SIMPLE, {"inputs": [*simple()["inputs"], {**simple()["inputs"][0], "name": "INPUT2"}]}, 400),
    "extra input, use case": (PREDICT, {**ROW, "fare": 3}, 400),
    "duplicate input": (SIMPLE, {"inputs": [simple()["inputs"][0], *simple()["inputs"]]}, 400),
    "unknown output": (SIMPLE, {**simple(), "outputs": [{"name": "OUTPUT9"}]}, 400),
    "output twice": (SIMPLE, {**simple(), "outputs": [{"name": "OUTPUT0"}] * 2}, 400),
    "unknown member": (SIMPLE, {**simple(), "colour": 1}, 400),
    "wrong datatype": (SIMPLE, simple(datatype="INT64"), 400),
    "unknown datatype": (SIMPLE, simple(datatype="INT33"), 400),
    "no data": (SIMPLE, {"inputs": [NO_DATA, simple()["inputs"][1]]}, 400),
    "too few elements": (SIMPLE, simple(data=list(range(15))), 400),
    "too many elements": (SIMPLE, simple(data=list(range(17))), 400),
    "ragged data": (SIMPLE, simple(shape=[2, 8], data=[list(range(8)), list(range(7))]), 400),
    "nested deeper than the shape": (SIMPLE, simple(data=[[[1] * 16]]), 400),
    "other shape": (SIMPLE, simple(shape=[16, 1]), 400),
    "negative dimension": (SIMPLE, simple(shape=[-1, 16]), 400),
    "zero dimension": (RAW, {"inputs": [{"name": "features", "datatype": "FP32", "shape": [0, 5], "data": []}]}, 400),
    "huge dimension": (SIMPLE, simple(shape=[2**40, 16]), 413),
    "overflowing dimensions": (SIMPLE, simple(shape=[2**32, 2**32, 16]), 413),
    "dimension beyond 64 bits": (SIMPLE, simple(shape=[2**70, 16]), 413),
    "dimension of 5,000 digits": (SIMPLE, replaced(b"[1, 16]", b"[" + b"9" * 5000 + b", 16]", simple()), 400),
    "float dimension": (SIMPLE, simple(shape=[1.5, 16]), 400),
    "text as dimension": (SIMPLE, simple(shape=["1", 16]), 400),
    "100 dimensions": (SIMPLE, simple(shape=[1] * 100), 400),
    "INT32 gets 2^31": (SIMPLE, simple(data=[2**31] * 16), 400),
    "INT32 gets 1.5": (SIMPLE, simple(data=[1.5] * 16), 400),
    "INT32 gets null": (SIMPLE, simple(data=[None] * 16), 400),
    "INT32 gets text": (SIMPLE, simple(data=["1"] * 16), 400),
    "INT32 gets true": (SIMPLE, simple(data=[True] * 16), 400),
    "INT32 gets 5,000 digits": (SIMPLE, replaced(b"[0, ", b"[" + b"9" * 5000 + b", ", simple()), 400),
    "field gets 2^31": (PREDICT, {**ROW, "pu_zone": 2**31}, 400),
    "field gets 5,000 digits": (PREDICT, replaced(b"3,", b"9" * 5000 + b",", ROW), 400),
    "field gets 1.5": (PREDICT, {**ROW, "pu_zone": 1.5}, 400),
    "field gets null": (PREDICT, {**ROW, "pu_zone": None}, 400),
    "field gets text": (PREDICT, {**ROW, "pu_zone": "3"}, 400),
    "time that is none": (PREDICT, {**ROW, "at": "2024-02-30T00:00:00Z"}, 400),
    "NaN": (RAW, b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,5],"data":[NaN,1,1,1,1]}]}', 400),
    "text that is no number": (TEXT, simple(datatype="BYTES", data=["x"] * 16), 400),
    "depth 100,000": (SIMPLE, DEEP, 400),
    "depth 100,000 in the data": (SIMPLE, b'{"inputs":[{"name":"INPUT0","data":' + DEEP + b"}]}", 400),
    "depth 100,000 in parameters": (SIMPLE, b'{"inputs":[],"parameters":{"a":' + DEEP + b"}}", 400),
    "depth 100,000, use case": (PREDICT, b'{"pu_zone":' + DEEP + b"}", 400),
    "invalid UTF-8": (SIMPLE, replaced(b"INPUT0", b"\xff\xfe", simple()), 400),
    "invalid UTF-8, use case": (PREDICT, replaced(b"2024", b"\xff", ROW), 400),
    "half a surrogate": (PREDICT, replaced(b"2024", b"\\ud800", ROW), 400),
    "duplicate key": (SIMPLE, replaced(b'{"inputs"', b'{"inputs": [], "inputs"', simple()), 400),
    "duplicate key in an input": (SIMPLE, replaced(b'"name"', b'"name": "x", "name"', simple()), 400),
    "duplicate key in parameters": (SIMPLE, replaced(b'{"', b'{"parameters": {"a": 1, "a": 1}, "', simple()), 400),
    "duplicate key, use case": (PREDICT, replaced(b'{"', b'{"pu_zone": 4, "', ROW), 400),
    "duplicate key behind an escape": (PREDICT, replaced(b'{"', b'{"\\u0070u_zone": 4, "', ROW), 400),
    "duplicate key in a row": (PREDICT, replaced(b'{"pu', b'{"pu_zone": 4, "pu', {"rows": [ROW]}), 400),
    "negative timeout": (ETA, {**eta(), "parameters": {"timeout": -1}}, 400),
    "id of 200 characters": (ETA, {**eta(), "id": "x" * 200}, 400),
    "9 rows of a model that takes 8": (SIMPLE, {"inputs": [{**one, **NINE} for one in simple()["inputs"]]}, 413),
    "10,001 rows": (PREDICT, {"rows": [ROW] * 10_001}, 413),
    "17 MiB body": (PREDICT, b" " * (17 * MIB), 413),
}  # fmt: skip


@pytest.mark.parametrize("item", BODIES)
def test_a_bad_body_gets_a_reason(server: Server, item: str) -> None:
    path, body, status = BODIES[item]
    refused(httpx.post(server.url + path, content=body if isinstance(body, bytes) else text(body), timeout=60), status)


def test_a_body_of_128_mib_gets_a_reason(served: tuple[Workspace, str]) -> None:
    for path in (PREDICT, "/v2/models/eta/infer", "/v2/repository/index"):
        refused(httpx.post(served[1] + path, content=b" " * (128 * MIB), timeout=120), 413)
        assert httpx.get(served[1] + "/v2/health/ready").json() == {"ready": True}


def refused(response: httpx.Response, status: int) -> str:
    """The reason of an answer that refuses with this status."""
    said = response.json()
    assert (response.status_code, list(said)) == (status, ["error"]), said
    assert 10 < len(said["error"]) < 700
    assert "Traceback" not in said["error"]
    return str(said["error"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/nobody/infer", 404),
        ("POST", "/v1/nobody/predict", 404),
        ("POST", "/v2/models/simple/versions/9/infer", 404),
        ("POST", "/v2/models/eta/versions/9/infer", 404),
        ("POST", "/v2/models/eta/versions/0x1/infer", 404),
        ("GET", "/v2/models/..", 400),
        ("GET", "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 400),
        ("GET", "/v2/models/simple/versions/..%2f..", 400),
        ("POST", "/v2/repository/models/..%2fsimple/load", 404),
        ("POST", "/v2/models/" + "x" * 129 + "/infer", 400),
        ("POST", "/v2/models/%00/infer", 400),
        ("POST", "/v2/models/a%0d%0ab/infer", 400),
        ("GET", "/v2/models/simple/infer", 405),
        ("PUT", PREDICT, 405),
        ("DELETE", "/v2/models/simple", 405),
        ("PATCH", "/v2/health/live", 405),
        ("OPTIONS", SIMPLE, 405),
        ("GET", "/v2/repository/index", 405),
        ("GET", "/x" * 5_000, 404),
    ],
)
def test_a_bad_address_or_method_gets_a_reason(server: Server, method: str, path: str, status: int) -> None:
    head, body = raw(server, f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert int(head.split()[1]) == status
    assert list(json.loads(body)) == ["error"]


RIGHT = struct.pack("<16i", *range(16)) * 2
BINARY: dict[str, tuple[bytes, dict[str, str]]] = {
    "length over the body": binary((64, 64), RIGHT, 10_000),
    "length in the middle of the JSON": binary((64, 64), RIGHT, 50),
    "length negative": binary((64, 64), RIGHT, -1),
    "length that is no number": binary((64, 64), RIGHT, "many"),
    "length with a sign": binary((64, 64), RIGHT, "+9"),
    "length of 5,000 digits": binary((64, 64), RIGHT, "9" * 5000),
    "length zero": binary((64, 64), RIGHT, 0),
    "size too small": binary((60, 64), RIGHT),
    "size too large": binary((64, 68), RIGHT),
    "size negative": binary((-64, 64), RIGHT),
    "size that is text": binary(("64", 64), RIGHT),
    "size that is a float": binary((64.0, 64), RIGHT),
    "size true": binary((True, 64), RIGHT),
    "size beyond 64 bits": binary((2**70, 64), RIGHT),
    "bytes missing": binary((64, 64), RIGHT[:-1]),
    "bytes left over": binary((64, 64), RIGHT + b"\0"),
}


@pytest.mark.parametrize("item", BINARY)
def test_wrong_lengths_of_binary_tensors_get_a_reason(server: Server, item: str) -> None:
    body, headers = BINARY[item]
    refused(httpx.post(server.url + SIMPLE, content=body, headers=headers), 400)


def test_right_lengths_of_binary_tensors_get_an_answer(server: Server) -> None:
    body, headers = binary((64, 64), RIGHT)
    assert httpx.post(server.url + SIMPLE, content=body, headers=headers).json() == server.tensors


def bomb() -> bytes:
    """A kilobyte or so that unpacks to a gigabyte."""
    packer = zlib.compressobj(9, wbits=31)
    once = packer.compress(b" " * (64 * MIB)) + packer.flush()
    return gzip.compress(once) if len(once) > MAX_BODY else once


@pytest.mark.parametrize(
    ("item", "encoding", "body", "status"),
    [
        ("unknown encoding", "br", b"x", 415),
        ("two encodings", "gzip, deflate", b"x", 415),
        ("not gzip", "gzip", text(ROW), 400),
        ("gzip cut off", "gzip", gzip.compress(text(ROW))[:-9], 400),
        ("gzip with a wrong checksum", "gzip", gzip.compress(text(ROW))[:-8] + b"\0" * 8, 400),
        ("gzip and more", "gzip", gzip.compress(text(ROW)) + b"x", 400),
        ("gzip of nothing", "gzip", b"", 400),
        ("raw deflate", "deflate", zlib.compress(text(ROW))[2:-4], 400),
        ("gzip bomb", "gzip", bomb(), 413),
        ("gzip of what is no JSON", "gzip", gzip.compress(b"\0" * 1000), 400),
    ],
)
def test_a_bad_encoding_gets_a_reason(server: Server, item: str, encoding: str, body: bytes, status: int) -> None:
    for path in (PREDICT, SIMPLE):
        refused(httpx.post(server.url + path, content=body, headers={"content-encoding": encoding}), status)


# What is no HTTP, and clients that are slow


def connect(server: Server) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def raw(server: Server, sent: str | bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to these bytes; the server ends the connection."""
    with connect(server) as wire:
        wire.sendall(sent.encode() if isinstance(sent, str) else sent)
        return received(wire)


def received(wire: socket.socket) -> tuple[bytes, bytes]:
    parts = []
    while part := wire.recv(65536):
        parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("item", "headers", "status"),
    [
        ("Content-Length with Transfer-Encoding", "content-length: 2\r\ntransfer-encoding: chunked\r\n", 400),
        ("two lengths", "content-length: 2\r\ncontent-length: 3\r\n", 400),
        ("length that is no number", "content-length: two\r\n", 400),
        ("length beyond 64 bits", f"content-length: {2**70}\r\n", 400),
        ("1 MB header", f"x-long: {'a' * 1_000_000}\r\n", 431),
        ("100,000 headers", "a: b\r\n" * 100_000, 431),
        ("header without a name", ": x\r\n", 400),
        ("header with a zero byte", "x: a\0b\r\n", 400),
    ],
)
def test_bad_headers_get_a_reason(server: Server, item: str, headers: str, status: int) -> None:
    for path in (PREDICT, SIMPLE, "/v2/repository/index"):
        with connect(server) as wire:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                wire.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{{}}".encode())
            head, body = received(wire)
        assert int(head.split()[1]) == status
        assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 100])
def test_what_is_no_http_gets_a_400(server: Server, sent: bytes) -> None:
    head, body = raw(server, sent)
    assert int(head.split()[1]) == 400
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize(
    ("item", "first", "drip", "part"),
    [
        ("slow header", b"POST /v1/eta/predict HTTP/1.1\r\nx: ", b"a", b"head"),
        ("no header at all", b"", b"", b"head"),
        ("empty lines for ever", b"", b"\r\n", b"head"),
        ("slow body", b"POST /v1/eta/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n", b" ", b"body"),
        ("slow body, long way", b"POST /v2/repository/index HTTP/1.1\r\ncontent-length: 1000\r\n\r\n", b" ", b"body"),
        ("slow chunks", b"POST /v1/eta/predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n", b"body"),
        ("no body", b"POST /v2/models/simple/infer HTTP/1.1\r\ncontent-length: 1000\r\n\r\n", b"", b"body"),
    ],
)
def test_a_slow_client_is_let_go(server: Server, item: str, first: bytes, drip: bytes, part: bytes) -> None:
    slow_until_let_go(server, first, drip, part)


def test_a_slow_second_request_is_let_go(server: Server) -> None:
    body = text(ROW)
    whole = b"POST /v1/eta/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    for first in (whole, b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"):
        said = slow_until_let_go(server, first + b"POST /v1/eta", b"x", b"head")
        assert said.startswith(b"HTTP/1.1 200")


def slow_until_let_go(server: Server, first: bytes, drip: bytes, part: bytes) -> bytes:
    """What the server said to a client that sends `first` and then `drip` for ever: at last that it was too slow."""
    with connect(server) as wire:
        wire.sendall(first)
        wire.settimeout(0.05)
        said, until = b"", time.monotonic() + 20
        while time.monotonic() < until:
            try:
                got = wire.recv(65536)
            except TimeoutError:
                wire.sendall(drip)
                continue
            except ConnectionResetError:
                break
            if not got:
                break
            said += got
    last = said[said.rindex(b"HTTP/1.1 ") :]
    assert last.startswith(b"HTTP/1.1 408"), said
    assert b"The request's %b did not come within" % part in last
    return said


def test_a_client_that_takes_its_time_and_no_more_is_answered(server: Server) -> None:
    body = text(ROW)
    whole = b"POST /v1/eta/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with connect(server) as wire:
        for start in range(0, len(whole), 30):
            wire.sendall(whole[start : start + 30])
            time.sleep(0.01)
        assert wire.recv(15) == b"HTTP/1.1 200 OK"


def test_clients_that_go_away_in_the_middle_of_a_batch_cost_the_others_nothing(server: Server) -> None:
    """Of a hundred requests that come at once, every second client goes away before its answer."""
    body, tensors = text({**ROW, "id": "a"}), text(simple())
    requests = [
        b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path, len(content), content)
        for path, content in ((PREDICT.encode(), body), (SIMPLE.encode(), tensors))
    ]
    wires = [connect(server) for _ in range(100)]
    for i, wire in enumerate(wires):
        wire.sendall(requests[i // 2 % 2][:-1])
    for i, wire in enumerate(wires):
        wire.sendall(requests[i // 2 % 2][-1:])
        if i % 2:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a farewell
            wire.close()
    for i, wire in enumerate(wires):
        if not i % 2:
            wire.sendall(b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n\r\n")
            answer = received(wire)[1].partition(b"HTTP/1.1")[0]
            assert json.loads(answer) == (server.tensors if i // 2 % 2 else server.row)
            wire.close()


# gRPC: the same list, as far as its messages can hold it

CLASSES = {name: (given, answer) for name, given, answer, _ in proto.methods()}


def ask_grpc(server: Server, method: str, timeout_s: float = 20, **fields: object) -> Any:
    given, answered = CLASSES[method]
    return send_grpc(server, method, given(**fields).SerializeToString(), timeout_s, answered.FromString)


def send_grpc(
    server: Server, method: str, content: bytes, timeout_s: float = 20, read: Callable[[bytes], Any] = bytes
) -> Any:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
        call = channel.unary_unary(f"/{proto.SERVICE}/{method}", bytes, read)
        return call(content, timeout=timeout_s)


def grpc_simple(shape: tuple[int, ...] = (1, 16), datatype: str = "INT32", **more: Any) -> dict[str, Any]:
    tensors = [{"name": f"INPUT{i}", "datatype": datatype, "shape": shape} for i in range(2)]
    return {"model_name": "simple", "inputs": tensors, "raw_input_contents": [RIGHT[:64]] * 2, **more}


INVALID, MISSING, TOO_MANY = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
MESSAGES: dict[str, tuple[dict[str, Any], grpc.StatusCode]] = {
    "no inputs": ({"model_name": "simple"}, INVALID),
    "no model": ({}, INVALID),
    "unknown model": (grpc_simple(model_name="nobody"), MISSING),
    "unknown version": (grpc_simple(model_version="9"), MISSING),
    "traversal": (grpc_simple(model_name="../simple"), INVALID),
    "missing input": ({**grpc_simple(), "inputs": grpc_simple()["inputs"][:1]}, INVALID),
    "duplicate input": ({**grpc_simple(), "inputs": grpc_simple()["inputs"][:1] * 2}, INVALID),
    "unknown output": (grpc_simple(outputs=[{"name": "OUTPUT9"}]), INVALID),
    "wrong datatype": (grpc_simple(datatype="FP32"), INVALID),
    "unknown datatype": (grpc_simple(datatype="INT33"), INVALID),
    "negative dimension": (grpc_simple(shape=(-1, 16)), INVALID),
    "huge dimension": (grpc_simple(shape=(2**40, 16)), INVALID),
    "overflowing dimensions": (grpc_simple(shape=(2**62, 2**62)), INVALID),
    "zero dimension": (grpc_simple(shape=(0, 16)), INVALID),
    "bytes missing": (grpc_simple(raw_input_contents=[RIGHT[:60]] * 2), INVALID),
    "one raw content for two inputs": (grpc_simple(raw_input_contents=[RIGHT]), INVALID),
    "contents beside raw contents": (
        {
            **grpc_simple(),
            "inputs": [{**one, "contents": {"int_contents": [1] * 16}} for one in grpc_simple()["inputs"]],
        },
        INVALID,
    ),
    "contents of another datatype": (
        {
            "model_name": "simple",
            "inputs": [{**one, "contents": {"fp32_contents": [1] * 16}} for one in grpc_simple()["inputs"]],
        },
        INVALID,
    ),
    "17 MiB message": (grpc_simple(raw_input_contents=[b"\0" * (17 * MIB)] * 2), TOO_MANY),
}


@pytest.mark.parametrize("item", MESSAGES)
def test_a_bad_message_gets_a_status_and_a_reason(server: Server, item: str) -> None:
    fields, code = MESSAGES[item]
    with pytest.raises(grpc.RpcError) as caught:
        ask_grpc(server, "ModelInfer", **fields)
    assert caught.value.code() == code
    assert 10 < len(caught.value.details()) < 2100
    assert "Traceback" not in caught.value.details()


def test_what_is_no_message_and_no_method_gets_a_status(server: Server) -> None:
    for method, content in (("ModelInfer", b"\xff" * 100), ("ModelBake", b"")):
        with pytest.raises(grpc.RpcError) as caught:
            send_grpc(server, method, content)
        assert caught.value.code() in (INVALID, grpc.StatusCode.UNIMPLEMENTED)


def test_grpc_calls_that_are_cancelled_cost_the_others_nothing(server: Server) -> None:
    given, answered = CLASSES["ModelInfer"]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = channel.unary_unary(f"/{proto.SERVICE}/ModelInfer", given.SerializeToString, answered.FromString)
        calls = [ask.future(given(**grpc_simple()), timeout=20) for _ in range(60)]
        for call in calls[::2]:
            call.cancel()
        for call in calls[1::2]:
            assert call.result().raw_output_contents[0] == struct.pack("<16i", *(2 * n for n in range(16)))
