"""The running server: right answers to right requests, and a reason, never a failure, for wrong ones."""

import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from bottega.compile.runtime import Artifact
from bottega.errors import InvalidInput, NotFound
from bottega.features.steps import Columns
from bottega.serving.binary import decode_body
from bottega.serving.client import Client
from bottega.serving.log import REPEATS, read_predictions
from bottega.serving.rows import MAX_ROWS
from bottega.times import from_epoch_us
from bottega.workspace import Workspace

ROW = {"pu_zone": 3, "do_zone": 12, "at": "2024-01-16T08:30:00-05:00"}
AT_US = 1705411800_000000
Served = tuple[Workspace, str]
Load = Callable[[Workspace, int], Artifact]
SomeRows = Callable[[int], Columns]


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=20) as client:
        yield client


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client.from_workspace(served[0]) as client:
        yield client


def as_rows(columns: Columns) -> list[dict[str, object]]:
    return [
        {"pu_zone": int(pu), "do_zone": int(do), "at": from_epoch_us(at).isoformat()}
        for pu, do, at in zip(columns["pu_zone"], columns["do_zone"], columns["at"], strict=True)
    ]


def tensors(**changes: object) -> dict:
    """A V2 request of one row, with some inputs changed, added (a whole tensor) or left out (None)."""
    inputs = {
        "pu_zone": {"datatype": "INT32", "shape": [1], "data": [3]},
        "do_zone": {"datatype": "INT32", "shape": [1], "data": [12]},
        "at": {"datatype": "INT64", "shape": [1], "data": [AT_US]},
    }
    merged = {name: {**inputs.get(name, {}), **change} for name, change in changes.items() if change is not None}
    kept = {name: tensor for name, tensor in inputs.items() if name not in changes}
    return {"inputs": [{"name": name, **tensor} for name, tensor in {**kept, **merged}.items()]}


# Right answers


@pytest.mark.parametrize("rows", [1, 2, 16, 300])
def test_served_is_what_the_artefact_answers(
    served: Served, client: Client, load: Load, some_rows: SomeRows, rows: int
) -> None:
    columns = some_rows(rows)
    expected = load(served[0], 1).predict(columns)
    answered = client.predict("eta", as_rows(columns))
    assert answered.model_version == 1
    assert answered.units == {"eta_min": "minutes", "low_min": "minutes", "high_min": "minutes"}
    tensors_out = client.infer("eta", columns)
    for name, answer_column in expected.items():
        column = answer_column.astype(np.float32)  # the datatype of the field
        listed = np.array([answer[name] for answer in answered.answers], np.float32)
        np.testing.assert_array_equal(listed, column)
        np.testing.assert_array_equal(tensors_out[name], column)
    assert len(np.unique(expected["eta_min"])) > rows // 2  # the answers do depend on the rows


def test_one_object_gets_one_answer(http: httpx.Client, client: Client) -> None:
    one = http.post("/v1/eta/predict", json={**ROW, "id": "trip-1"}).json()
    assert one["id"] == "trip-1"
    assert one["answer"] == client.predict("eta", [ROW]).answers[0]
    assert one["answer"]["low_min"] < one["answer"]["eta_min"] < one["answer"]["high_min"]
    assert http.post("/v1/eta/predict", json=ROW, headers={"x-request-id": "trip-2"}).json()["id"] == "trip-2"


def test_the_raw_view_has_an_express_lane_that_answers_as_the_general_code(http: httpx.Client) -> None:
    tensor = {"name": "features", "shape": [2, 5], "datatype": "FP32", "data": [0.1, 2, -3, 4, 5.5, 6, 7, 8, 9, 1e4]}
    quick = http.post("/v2/models/eta-raw/infer", json={"inputs": [tensor]})
    general = http.post("/v2/models/eta-raw/infer", json={"inputs": [tensor], "parameters": {"timeout": 10_000_000}})
    assert (quick.status_code, quick.content) == (200, general.content)
    wrong = http.post("/v2/models/eta-raw/infer", json={"inputs": [{**tensor, "shape": [2, 4], "data": [1.0] * 8}]})
    assert wrong.status_code == 400
    assert "(batch, 5)" in wrong.json()["error"]


def test_the_raw_view_is_the_compiled_model(served: Served, client: Client, load: Load) -> None:
    features = np.random.default_rng(3).normal(5, 3, (40, 5)).astype(np.float32)
    expected = load(served[0], 1).predict_raw(features)
    np.testing.assert_array_equal(client.infer("eta-raw", {"features": features})["prediction"], expected)


def test_binary_tensors_give_the_same_answers(http: httpx.Client, client: Client, some_rows: SomeRows) -> None:
    columns = some_rows(20)
    datatypes = {"pu_zone": "INT32", "do_zone": "INT32", "at": "INT64"}
    inputs = [
        {"name": n, "datatype": datatypes[n], "shape": [20], "parameters": {"binary_data_size": c.nbytes}}
        for n, c in columns.items()
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    response = http.post(
        "/v2/models/eta/infer",
        content=header + b"".join(column.tobytes() for column in columns.values()),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    length = response.headers["inference-header-content-length"]
    outputs = json.loads(response.content[: int(length)])["outputs"]
    again = json.dumps({"inputs": outputs}).encode()
    _, arrays = decode_body(again + response.content[int(length) :], str(len(again)))
    expected = client.infer("eta", columns)
    for name, column in expected.items():
        np.testing.assert_array_equal(arrays[name], column)


def test_v2_takes_times_as_text_and_answers_what_is_asked(http: httpx.Client, client: Client) -> None:
    body = tensors(at={"datatype": "BYTES", "shape": [1, 1], "data": [[ROW["at"]]]})
    answer = http.post(
        "/v2/models/eta/versions/1/infer", json={**body, "id": "a", "outputs": [{"name": "high_min"}]}
    ).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("eta", "1", "a")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("high_min", "FP32", [1])
    assert np.float32(output["data"][0]) == np.float32(client.predict("eta", [ROW]).answers[0]["high_min"])


# Metadata


def test_v2_metadata(http: httpx.Client) -> None:
    assert http.get("/v2").json()["name"] == "bottega"
    assert http.get("/v2/health/live").status_code == http.get("/v2/health/ready").status_code == 200
    model = http.get("/v2/models/eta").json()
    assert model["versions"] == ["1"]
    assert model["inputs"] == [
        {"name": "pu_zone", "datatype": "INT32", "shape": [-1]},
        {"name": "do_zone", "datatype": "INT32", "shape": [-1]},
        {"name": "at", "datatype": "INT64", "shape": [-1]},
    ]
    raw = http.get("/v2/models/eta-raw/versions/1").json()
    assert raw["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 5]}]
    assert raw["outputs"] == [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}]
    for path in ("eta", "eta-raw", "eta/versions/1", "eta/"):
        ready = f"/v2/models/{path}/ready".replace("//", "/")
        assert http.get(ready).json()["ready"] is True
    index = http.post("/v2/repository/index").json()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        ("eta", "1", "READY"),
        ("eta-raw", "1", "READY"),
    ]


def test_v1_describes_itself_with_an_example_that_works(http: httpx.Client) -> None:
    described = http.get("/v1/eta").json()
    assert [field["name"] for field in described["request"]] == ["pu_zone", "do_zone", "at"]
    assert [field["unit"] for field in described["answer"]] == ["minutes"] * 3
    assert described["request"][0]["known"] == [zone for zone in range(1, 31) if zone != 7]
    assert described["first_moment"] == "2024-01-01T05:00:00+00:00"
    assert http.post("/v1/eta/predict", json=described["example"]).status_code == 200


def test_counts_agree_in_status_metrics_and_log(served: Served, client: Client, http: httpx.Client) -> None:
    client.infer("eta-raw", {"features": np.ones((3, 5), np.float32)})  # no prediction: counted apart, not logged
    before = client.status().usecases["eta"]
    ids = [f"counted-{i}" for i in range(7)]
    client.predict("eta", [ROW] * 7, ids)
    with pytest.raises(InvalidInput):
        client.predict("eta", [{**ROW, "pu_zone": 7}])
    after = client.status().usecases["eta"]
    assert (after.requests - before.requests, after.rows - before.rows, after.errors - before.errors) == (1, 7, 1)
    assert after.stages["total"]["p50_us"] > 0
    client.wait_for_log()
    metrics = http.get("/metrics").text
    assert f'bottega_rows_total{{model="eta"}} {after.rows}.0' in metrics
    assert f'bottega_prediction_log{{what="written"}} {after.rows}.0' in metrics
    assert 'bottega_prediction_log{what="dropped"} 0.0' in metrics
    assert 'bottega_rows_total{model="eta-raw"}' in metrics
    everything = read_predictions(served[0], "eta")
    assert len(everything) + everything.attrs[REPEATS] == after.rows
    logged = everything.set_index("request_id").loc[ids]
    assert logged["at"].tolist() == [datetime(2024, 1, 16, 13, 30, tzinfo=UTC)] * 7
    assert logged["eta_min"].nunique() == 1


# Wrong requests: each with what the answer must say


def at(text: object) -> dict:
    return {**ROW, "at": text}


BAD_ROWS: list[tuple[object, int, str]] = [
    (b"", 400, "empty"),
    (b"nonsense", 400, "not a JSON object"),
    (b'{"pu_zone": 3', 400, "not a JSON object"),
    (b'{"pu_zone": "\xff"}', 400, "UTF-8"),
    (b"[" * 100_000 + b"]" * 100_000, 400, "array"),
    (b'{"pu_zone":' * 100_000, 400, "nested too deeply"),
    ([ROW], 400, "array"),
    ({}, 400, "is missing"),
    ({"pu_zone": 3, "do_zone": 12}, 400, "'at' is missing"),
    ({**ROW, "fare": 3}, 400, "'fare' is no field"),
    ({**ROW, "pu_zone": "3"}, 400, "must be a number"),
    ({**ROW, "pu_zone": None}, 400, "must be a number"),
    ({**ROW, "pu_zone": 3.5}, 400, "whole number"),
    ({**ROW, "pu_zone": 2**31}, 400, "INT32"),
    ({**ROW, "pu_zone": 7}, 400, "pu_zone 7 is unknown. Zones are 1 to 30 without 7."),
    ({**ROW, "pu_zone": 999}, 400, "pu_zone 999 is unknown"),
    ({**ROW, "do_zone": -1}, 400, "do_zone -1 is unknown"),
    (at("2024-01-16T08:30:00"), 400, "no offset"),
    (at("2024-13-16T08:30:00Z"), 400, "is not a time"),
    (at(1705411800), 400, "must be text"),
    (at("2023-12-31T23:59:59-05:00"), 400, "its first moment is 2024-01-01T05:00:00+00:00"),
    (at("0001-01-01T00:00:00+00:00"), 400, "its first moment is 2024-01-01T05:00:00+00:00"),
    (at("2100-01-01T00:00:00+00:00"), 400, "after the year 2099"),
    (at("9999-12-31T23:59:59-23:00"), 400, "INT64"),
    ({"rows": []}, 400, "at least one"),
    ({"rows": [ROW, {**ROW, "pu_zone": 7}]}, 400, "pu_zone 7 is unknown"),
    ({"rows": [ROW] * (MAX_ROWS + 1)}, 413, "the limit"),
    (b" " * (17 << 20), 413, "more than 16777216 bytes"),
    ({**ROW, "pu_zone": "x" * 1_000_000}, 400, "xxx ... xxx"),
]
BAD_TENSORS: list[tuple[object, int, str]] = [
    (b"", 400, "empty"),
    ([], 400, "array"),
    ({"inputs": []}, 400, "'pu_zone' is missing"),
    (tensors(at=None), 400, "'at' is missing"),
    (tensors(fare={"datatype": "FP32", "shape": [1], "data": [1]}), 400, "no input 'fare'"),
    (tensors(pu_zone={"datatype": "INT64"}), 400, "it must be INT32"),
    (tensors(pu_zone={"datatype": "FP32"}), 400, "it must be INT32"),
    (tensors(pu_zone={"data": [1.5]}), 400, "Expected `int`"),
    (tensors(pu_zone={"data": [2**31]}), 400, "does not fit INT32"),
    (tensors(pu_zone={"data": [None]}), 400, "null"),
    (tensors(pu_zone={"shape": [2]}), 400, "has 1 elements"),
    (tensors(pu_zone={"shape": [2], "data": [3, 3]}), 400, "pu_zone 2, do_zone 1"),
    (tensors(pu_zone={"shape": [1, 2], "data": [3, 3]}), 400, "[rows] or [rows, 1]"),
    (tensors(pu_zone={"shape": [-1]}), 400, "negative"),
    (tensors(pu_zone={"shape": [2**70]}), 413, "the limit"),
    (tensors(pu_zone={"shape": [2**62]}), 413, "the limit"),
    (tensors(**{n: {"shape": [0], "data": []} for n in ("pu_zone", "do_zone", "at")}), 400, "no rows"),
    (tensors(pu_zone={"data": [7]}), 400, "pu_zone 7 is unknown"),
    (tensors(at={"data": [-(2**63)]}), 400, "its first moment"),
    (tensors(at={"data": [2**63 - 1]}), 400, "after the year 2099"),
    (tensors(at={"datatype": "BYTES", "data": ["2024-01-16T08:30:00"]}), 400, "no offset"),
    ({**tensors(), "outputs": [{"name": "fare"}]}, 400, "no output 'fare'"),
    ({**tensors(), "id": "x" * 200}, 400, "1 to 128 printable"),
]
FEATURES = {"name": "features", "datatype": "FP32", "shape": [1, 5], "data": [1, 2, 3, 4, 5]}
BAD_RAW: list[tuple[object, int, str]] = [
    ({"inputs": []}, 400, "'features'"),
    ({"inputs": [{**FEATURES, "name": "x"}]}, 400, "'features'"),
    ({"inputs": [{**FEATURES, "datatype": "FP64"}]}, 400, "Give float32 of shape (batch, 5)"),
    ({"inputs": [{**FEATURES, "shape": [5]}]}, 400, "Give float32 of shape (batch, 5)"),
    ({"inputs": [{**FEATURES, "shape": [5, 1]}]}, 400, "Give float32 of shape (batch, 5)"),
    ({"inputs": [{**FEATURES, "shape": [0, 5], "data": []}]}, 400, "The batch is empty"),
    ({"inputs": [{**FEATURES, "data": [1e39, 2, 3, 4, 5]}]}, 400, "does not fit FP32"),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        *(("/v1/eta/predict", *case) for case in BAD_ROWS),
        *(("/v2/models/eta/infer", *case) for case in BAD_TENSORS),
        *(("/v2/models/eta-raw/infer", *case) for case in BAD_RAW),
    ],
)
def test_a_wrong_body_gets_a_reason(http: httpx.Client, path: str, body: object, status: int, reason: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post(path, content=content)
    assert response.status_code == status
    said = response.json()
    assert list(said) == ["error"]
    assert reason in said["error"]
    assert len(said["error"]) < 700
    assert "Traceback" not in said["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/eta/predict", 405),
        ("PUT", "/v1/eta/predict", 405),
        ("POST", "/v1/eta", 405),
        ("DELETE", "/v2/models/eta", 405),
        ("GET", "/v2/models/eta/infer", 405),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/metrics", 405),
        ("POST", "/v1/pricing/predict", 404),
        ("GET", "/v1/pricing", 404),
        ("POST", "/v2/models/pricing/infer", 404),
        ("POST", "/v2/models/pricing-raw/infer", 404),
        ("GET", "/v2/models/eta/versions/2", 404),
        ("POST", "/v2/models/eta/versions/999/infer", 404),
        ("GET", "/v2/models/eta/versions", 404),
        ("GET", "/v2/models/eta/config/x", 404),
        ("GET", "/v2/models/..", 400),
        ("GET", "/v2/models/%2e%2e", 400),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 400),
        ("GET", "/v2/models/eta/versions/..", 400),
        ("POST", "/v1/%2e%2e/predict", 400),
        ("POST", "/v1/" + "x" * 200 + "/predict", 400),
        ("GET", "/v2/models/e%00ta", 400),
        ("GET", "/v2/models/%C3%A9ta", 400),
    ],
)
def test_a_wrong_path_or_method_gets_a_reason(served: Served, method: str, path: str, status: int) -> None:
    # a bare socket: a client library would tidy the path
    answer = raw(
        served, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert list(json.loads(body)) == ["error"]


def raw(served: Served, sent: bytes) -> bytes:
    address = urlsplit(served[1])
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/eta/predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/eta/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_what_is_no_http_is_a_400(served: Served, sent: bytes) -> None:
    assert raw(served, sent).startswith(b"HTTP/1.1 400")
    assert httpx.get(served[1] + "/v2/health/ready").status_code == 200


def test_an_unknown_encoding_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/eta/predict", content=b"x", headers={"content-encoding": "br"})
    assert (response.status_code, "content encoding 'br'" in response.json()["error"]) == (415, True)


def test_a_client_that_hangs_up_leaves_the_server_well(served: Served, http: httpx.Client) -> None:
    address = urlsplit(served[1])
    body = json.dumps(ROW).encode()
    request = b"POST /v1/eta/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for sent in (request, request + body[:5], request + body):
        for _ in range(20):
            with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
                connection.sendall(sent)
    assert http.post("/v1/eta/predict", json=ROW).status_code == 200


def test_the_client_raises_what_the_server_means(client: Client) -> None:
    with pytest.raises(NotFound, match="No model 'pricing' is live"):
        client.predict("pricing", [ROW])
    with pytest.raises(InvalidInput, match="pu_zone 7 is unknown"):
        client.predict("eta", [{**ROW, "pu_zone": 7}])
