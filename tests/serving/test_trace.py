"""Ids of requests and traces: from the client to the answer, errors, log lines and the prediction log."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest

from bottega.serving import proto
from bottega.serving.client import Client
from bottega.serving.log import read_predictions
from bottega.serving.process import start, stop, wait_until_ready
from bottega.serving.trace import NO_TRACE, Trace, is_id, read_trace
from bottega.workspace import Workspace

ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
TENSORS = {
    "inputs": [
        {"name": "pu_zone", "datatype": "INT32", "shape": [1], "data": [3]},
        {"name": "do_zone", "datatype": "INT32", "shape": [1], "data": [12]},
        {"name": "at", "datatype": "INT64", "shape": [1], "data": [1705411800_000000]},
    ]
}


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (PARENT, "01"),
        (f" {PARENT}\t", "01"),
        (PARENT[:-2] + "00", "00"),
        (PARENT[:-2] + "ff", "01"),  # of the flags only the lowest bit has a meaning
        (f"cc{PARENT[2:]}", "01"),  # a version to come begins as this one
        (f"cc{PARENT[2:]}-what-else", "01"),
    ],
)
def test_a_trace_parent_is_read(value: str, flags: str) -> None:
    found = read_trace([("traceparent", value)])
    assert (found.trace_id, found.flags, found.request_id) == (TRACE_ID, flags, "")
    assert re.fullmatch("[0-9a-f]{16}", found.span_id)
    assert found.headers() == [("traceparent", f"00-{TRACE_ID}-{found.span_id}-{flags}")]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",  # version 00 has no more
        f"ff{PARENT[2:]}",
        f"cc{PARENT[2:]}what",
        PARENT.replace(TRACE_ID, "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.replace("-", "_"),
        PARENT.replace("0af", "0xf"),
    ],
)
def test_a_malformed_trace_parent_counts_as_none(value: str) -> None:
    assert read_trace([("traceparent", value), ("x-request-id", "r")]) == Trace("r")


def test_two_trace_parents_are_none_and_of_two_ids_the_first_counts() -> None:
    assert read_trace([("traceparent", PARENT), ("traceparent", PARENT)]) == NO_TRACE.__class__()
    assert read_trace([("x-request-id", "a"), ("x-request-id", "b")]).request_id == "a"
    assert read_trace([("accept", "*/*")]) is NO_TRACE


def test_an_id_that_no_header_can_hold_does_not_go_back() -> None:
    assert [is_id(text) for text in ("a b", "", "x" * 129, "a\nb", "ä")] == [True, False, False, False, False]
    assert Trace("a\r\nset-cookie: b").headers() == []


def headers_of(response: httpx.Response) -> tuple[str | None, str | None]:
    return response.headers.get("x-request-id"), response.headers.get("traceparent")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/eta/predict", ROW, 200),
        ("POST", "/v1/eta/predict", {}, 400),
        ("POST", "/v1/nobody/predict", ROW, 404),
        ("POST", "/v2/models/eta/infer", TENSORS, 200),
        ("POST", "/v2/models/eta/infer", {}, 400),
        ("GET", "/v2", None, 200),
        ("GET", "/nothing", None, 404),
        ("PUT", "/metrics", None, 405),
    ],
)
def test_every_answer_carries_the_ids_of_its_request(
    served: tuple[Workspace, str], method: str, path: str, body: object, status: int
) -> None:
    sent = {"x-request-id": "r-1", "traceparent": PARENT}
    with httpx.Client(base_url=served[1]) as http:
        for _ in range(2):  # the second on a connection that knows this head
            response = http.request(method, path, json=body, headers=sent)
            request_id, parent = headers_of(response)
            assert (response.status_code, request_id) == (status, "r-1")
            assert parent is not None and parent.startswith(f"00-{TRACE_ID}-") and parent != PARENT
        without = http.request(method, path, json=body)
        assert headers_of(without) == (None, None)
        broken = http.request(method, path, json=body, headers={"traceparent": PARENT + "x"})
        assert (broken.status_code, headers_of(broken)) == (status, (None, None))


@pytest.fixture(scope="module")
def logged(fresh: Callable[[], Workspace], tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[dict]]:
    """What a server with JSON lines and its access log said, of requests that went well, badly, and over gRPC."""
    workspace, said = fresh(), tmp_path_factory.mktemp("said") / "stderr"
    options = ["--log-format", "json", "--log-level", "info", "--access-log", "--grpc-port", "0"]
    with said.open("w+b") as file:
        process = start(workspace, "127.0.0.1", 0, file, options)
        try:
            address = wait_until_ready(process, workspace)
            sent = {"traceparent": PARENT, "x-request-id": "r-2"}
            with httpx.Client(base_url=address.url) as http:
                http.post("/v1/eta/predict", json=ROW, headers=sent)
                http.post("/v1/eta/predict", json={**ROW, "id": "own"}, headers={"traceparent": PARENT})
                http.post("/v2/models/eta/infer", json=TENSORS, headers={**sent, "x-request-id": "r-3"})
                http.post("/v1/eta/predict", json={}, headers=sent)
                http.post("/v1/eta/predict", json={**ROW, "id": "alone"})
            _ask_over_grpc(address.grpc_port or 0)
            with Client(address.url) as client:
                client.wait_for_log()
        finally:
            assert stop(process) == 0
    return workspace, [json.loads(line) for line in said.read_text().splitlines()]


def _ask_over_grpc(port: int) -> None:
    classes = {name: (given, answer) for name, given, answer, _ in proto.methods()}
    given, answered = classes["ModelInfer"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            f"/{proto.SERVICE}/ModelInfer",
            request_serializer=given.SerializeToString,
            response_deserializer=answered.FromString,
        )
        metadata = (("traceparent", PARENT), ("x-request-id", "r-grpc"))
        contents = {"INT32": "int_contents", "INT64": "int64_contents"}
        inputs = [
            {**{k: v for k, v in one.items() if k != "data"}, "contents": {contents[str(one["datatype"])]: one["data"]}}
            for one in TENSORS["inputs"]
        ]
        _, call = ask.with_call(given(model_name="eta", inputs=inputs), metadata=metadata, timeout=20)
        trailing = dict(call.trailing_metadata())
        assert trailing["x-request-id"] == "r-grpc"
        assert trailing["traceparent"].startswith(f"00-{TRACE_ID}-")
        with pytest.raises(grpc.RpcError) as caught:
            ask(given(model_name="nobody"), metadata=metadata, timeout=20)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert dict(caught.value.trailing_metadata())["x-request-id"] == "r-grpc"


def test_every_line_is_json_and_says_when_how_grave_and_what(logged: tuple[Workspace, list[dict]]) -> None:
    for line in logged[1]:
        assert {"time", "level", "logger", "message"} <= line.keys()
    events = [line["event"] for line in logged[1] if "event" in line]
    assert [event for event in events if event != "request"] == ["live", "started", "draining", "ended"]


def test_the_access_log_names_each_request_by_its_ids(logged: tuple[Workspace, list[dict]]) -> None:
    access = [line for line in logged[1] if line.get("event") == "request" and line.get("trace_id")]
    assert {line["trace_id"] for line in access} == {TRACE_ID}
    assert [(line.get("request_id"), line["status"]) for line in access] == [
        ("r-2", 200),
        (None, 200),
        ("r-3", 200),
        ("r-2", 400),
        ("r-grpc", "OK"),
        ("r-grpc", "NOT_FOUND"),
    ]
    assert {line["path"] for line in access[:4]} == {"/v1/eta/predict", "/v2/models/eta/infer"}
    assert all(line["duration_ms"] > 0 and line["level"] == "info" for line in access)


def test_the_prediction_log_keeps_the_trace(logged: tuple[Workspace, list[dict]]) -> None:
    rows = read_predictions(logged[0], "eta").set_index("request_id")["trace_id"].to_dict()
    assert rows == {"r-2": TRACE_ID, "own": TRACE_ID, "r-3": TRACE_ID, "r-grpc": TRACE_ID, "alone": ""}


def test_without_being_asked_a_server_says_nothing_of_its_requests(
    fresh: Callable[[], Workspace], tmp_path: Path
) -> None:
    workspace, said = fresh(), tmp_path / "stderr"
    with said.open("w+b") as file:
        process = start(workspace, "127.0.0.1", 0, file)
        try:
            url = wait_until_ready(process, workspace).url
            assert httpx.post(f"{url}/v1/eta/predict", json=ROW).status_code == 200
            assert httpx.post(f"{url}/v1/eta/predict", json={}).status_code == 400
        finally:
            stop(process)
    assert said.read_text() == ""
