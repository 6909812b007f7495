"""Our own OpenAPI page, taken at its word: every operation that it names is asked with what it allows and what it does
not. No answer is a 5xx, every 4xx says why, and each answer is what the page says that it is.
"""

import copy
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bottega.serving.process import running
from bottega.workspace import Workspace

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

OPERATIONS = [
    *(("get", path) for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats")),
    *(
        ("post" if rest == "/infer" else "get", f"/v2/models/{{model}}{version}{rest}")
        for version in ("", "/versions/{version}")
        for rest in ("", "/ready", "/config", "/stats", "/infer")
    ),
    *(("post", f"/v2/repository/{rest}") for rest in ("index", "models/{model}/load", "models/{model}/unload")),
    *(("get", path) for path in ("/v1/status", "/v1/recommendations/search", "/openapi.json", "/metrics")),
    ("post", "/v1/log/flush"),
    ("get", "/v1/eta"),
    ("post", "/v1/eta/predict"),
]
Schema = dict[str, Any]
few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def http(fresh: Callable[[], Workspace], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server with a use case and plain models that clients load and unload."""
    root = tmp_path_factory.mktemp("repository")
    models.put(root, "simple", models.add_sub())
    models.put(root, "text", models.add_sub_text())
    options = ["--repository", str(root), "--model-control", "explicit"]
    with running(fresh(), options=options) as address, httpx.Client(base_url=address.url, timeout=20) as client:
        for name in ("simple", "text"):
            assert client.post(f"/v2/repository/models/{name}/load").status_code == 200
        yield client


@pytest.fixture(scope="module")
def page(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def test_the_page_names_every_route(page: dict[str, Any]) -> None:
    assert page["openapi"] == "3.1.0"
    named = {(method, path) for path, operations in page["paths"].items() for method in operations}
    assert named == set(OPERATIONS)


def test_every_schema_of_the_page_is_one(page: dict[str, Any]) -> None:
    def check(value: Any, within: str) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                if name == "schema":
                    jsonschema.Draft202012Validator.check_schema(one)
                if name == "$ref":
                    assert one.removeprefix("#/components/schemas/") in page["components"]["schemas"], within
                check(one, f"{within}/{name}")
        elif isinstance(value, list):
            for one in value:
                check(one, within)

    check(page, "")


def test_a_prediction_is_typed(page: dict[str, Any]) -> None:
    operation = page["paths"]["/v1/eta/predict"]["post"]
    row, many = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert row["required"] == ["pu_zone", "do_zone", "at"]
    assert row["properties"]["pu_zone"]["enum"] == [zone for zone in range(1, 31) if zone != 7]
    assert row["properties"]["at"]["format"] == "date-time"
    assert many["required"] == ["rows"]
    one, _ = operation["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    assert one["properties"]["answer"]["required"] == ["eta_min", "low_min", "high_min"]
    assert one["properties"]["answer"]["properties"]["eta_min"]["description"] == "minutes"
    assert {"units", "model_version", "feature_ages_s"} <= set(one["required"])
    assert one["properties"]["explanation"] == {"$ref": "#/components/schemas/Explanation"}


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def allowed(schema: Schema, parts: dict[str, Schema]) -> st.SearchStrategy[Any]:
    """Values that a schema allows."""
    if "$ref" in schema:
        return allowed(parts[schema["$ref"].rpartition("/")[2]], parts)
    if "oneOf" in schema:
        return st.one_of([allowed(one, parts) for one in schema["oneOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            members = {name: allowed(one, parts) for name, one in schema.get("properties", {}).items()}
            required = {name: members.pop(name) for name in schema.get("required", [])}
            return st.fixed_dictionaries(required, optional=members)
        case "array":
            most = min(schema.get("maxItems", 4), schema.get("minItems", 0) + 4)
            return st.lists(allowed(schema.get("items", {}), parts), min_size=schema.get("minItems", 0), max_size=most)
        case "string":
            return text(schema)
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case _:
            return junk


def text(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.sampled_from(schema.get("examples", [])) | st.datetimes().map(lambda at: at.isoformat() + "Z")
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda t: len(t) <= schema.get("maxLength", 128))
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 20), 20))


@st.composite
def spoiled(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    """An allowed value with something in it replaced or left out."""
    value = draw(values)
    at = value
    while isinstance(at, dict | list) and at:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
        elif draw(st.booleans()):
            at[key] = draw(junk)
            return value
        else:
            del at[key]
            return value
    return draw(junk)


def right(http: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Right requests of the model that a path names, where there is one, by its metadata."""
    found = http.get(path.removesuffix("/infer"))
    if found.status_code != 200:
        return []
    whole = {"INT32": 12, "INT64": 1705411800_000000, "FP32": 1.5, "BYTES": "7"}
    inputs = []
    for tensor in found.json()["inputs"]:
        shape = [1 if size == -1 else size for size in tensor["shape"]]
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        inputs.append({**tensor, "shape": shape, "data": [whole[tensor["datatype"]]] * count})
    binary = {"parameters": {"binary_data_output": True}}
    return [{"inputs": inputs}, {"inputs": inputs, "id": "a"}, {"inputs": inputs, **binary}]


def parameter(one: Schema, parts: dict[str, Schema]) -> st.SearchStrategy[str]:
    """A parameter as it travels: as the page allows or, where it is not in the path, anything printable."""
    examples = one["schema"].get("examples", [])
    values = allowed({k: v for k, v in one["schema"].items() if k != "examples"}, parts).map(
        lambda value: value if isinstance(value, str) else json.dumps(value)
    )
    if one["in"] == "path":
        return st.sampled_from(examples) | values if examples else values
    return values | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@few
@given(data=st.data())
def test_an_operation_does_what_the_page_says(
    http: httpx.Client, page: dict[str, Any], method: str, path: str, data: st.DataObject
) -> None:
    operation, parts = page["paths"][path][method], page["components"]["schemas"]
    sent: dict[str, Any] = {"params": {}, "headers": {}}
    for one in operation.get("parameters", []):
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", data.draw(parameter(one, parts), label=one["name"]))
        elif data.draw(st.booleans()):
            where = sent["params"] if one["in"] == "query" else sent["headers"]
            where[one["name"]] = data.draw(parameter(one, parts), label=one["name"])
    if "requestBody" in operation:
        values = allowed(operation["requestBody"]["content"]["application/json"]["schema"], parts)
        known = right(http, path) if path.endswith("/infer") else []
        good = st.sampled_from(known).map(copy.deepcopy) if known else st.nothing()
        body = data.draw(good | values | spoiled(values) | spoiled(good) | junk | st.binary(max_size=30), label="body")
        sent["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.request(method, path, **sent)
    check(page, operation, response)


def check(page: dict[str, Any], operation: Schema, response: httpx.Response) -> None:
    """Hold an answer to what the page says of its operation."""
    status, responses = response.status_code, operation["responses"]
    assert status < 500, response.text
    documented = responses.get(str(status)) or responses[f"{status // 100}XX"]
    kind = response.headers["content-type"].partition(";")[0]
    assert kind in documented["content"], kind
    if kind == "application/json":
        schema = {**documented["content"][kind]["schema"], "components": page["components"]}
        jsonschema.validate(response.json(), schema, jsonschema.Draft202012Validator)
    if status >= 400:
        assert list(response.json()) == ["error"]


def test_right_requests_are_among_those_that_are_asked(http: httpx.Client, page: dict[str, Any]) -> None:
    """The generators reach the code behind the checks: what they call right is answered."""
    http.post("/v2/repository/models/simple/load")
    for path in ("/v2/models/simple/infer", "/v2/models/eta-raw/infer"):
        for body in right(http, path):
            response = http.post(path, json=body)
            assert response.status_code == 200, response.text
            check(page, page["paths"]["/v2/models/{model}/infer"]["post"], response)
    operation = page["paths"]["/v1/eta/predict"]["post"]
    row, _ = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    fields = {name: row["properties"][name] for name in row["required"]}
    one = {name: (field.get("enum") or field["examples"])[0] for name, field in fields.items()}
    for body in (one, {**one, "explain": True}, {"rows": [one, one]}, {"rows": [one], "explain": True}):
        response = http.post("/v1/eta/predict", json=body)
        assert response.status_code == 200, response.text
        check(page, operation, response)
